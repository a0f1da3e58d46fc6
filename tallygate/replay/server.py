"""A simulated inference server: it authorises, generates as far as it may, reports, and finishes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from tallygate.client import Denied, MeteredRequest, MeteringClient, Unreachable
from tallygate.replay.pace import Pace
from tallygate.replay.tally import Tally
from tallygate.replay.trace import TraceRow

UNRECORDED_MAX = 256
"""Maximum number of finished requests that wait for their receipts; then the server waits."""
_REPORTS_A_TURN = 64
_UNREACHABLE_MAX = 16
"""Maximum number of requests in a row that no node answers; then the server gives up."""
_RECORD_ATTEMPTS = 9
"""Number of waits of 5 s each for a receipt, while none comes: a database that fails over may need half a minute."""


class SimulatedServer:
    """Runs its share of the workload over its own stream, a bounded number of requests at a time.

    It obeys: it generates no token above its grants, waits at a ceiling until its report is answered, and finishes with
    what it had generated when it must stop.
    """

    def __init__(
        self, client: MeteringClient, *, service: str, run_id: str, report_every: int, pace: Pace, tally: Tally
    ) -> None:
        self._client = client
        self._service = service
        self._run_id = run_id
        self._report_every = report_every
        self._pace = pace
        self._tally = tally
        self._unreachable_in_a_row = 0
        self._unrecorded: asyncio.Queue[MeteredRequest | None] = asyncio.Queue(UNRECORDED_MAX)

    async def run(self, rows: Iterator[TraceRow], *, in_flight: int) -> None:
        """Runs all rows and waits for their receipts."""
        receipts = asyncio.create_task(self._take_receipts())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(in_flight):
                    group.create_task(self._work(rows))
            await self._unrecorded.put(None)
            await receipts
        finally:
            receipts.cancel()

    async def _work(self, rows: Iterator[TraceRow]) -> None:
        for row in rows:
            if self._tally.gave_up:
                return
            await self._pace.until(row.offset_us)
            await self._serve(row)

    async def _serve(self, row: TraceRow) -> None:
        tally = self._tally
        tally.begun += 1
        request_id = f"{self._run_id}{row.index:08d}"
        request = self._client.request(
            self._service,
            request_id=request_id,
            input_tokens=row.context_tokens,
            # A limit that its user might have set: the next power of two.
            max_output_tokens=1 << max(0, row.generated_tokens - 1).bit_length(),
        )
        try:
            await request.authorize()
        except Denied as denied:
            tally.denials[denied.reason] += 1
            return
        except Unreachable as unreachable:
            tally.denials["UNREACHABLE"] += 1
            tally.withdrawn.add(request_id)
            self._unreachable_in_a_row += 1
            if self._unreachable_in_a_row == _UNREACHABLE_MAX:
                tally.gave_up = str(unreachable)
            return
        self._unreachable_in_a_row = 0
        tally.allowed += 1
        await self._generate(request, row.generated_tokens)
        request.finish()
        tally.finished += 1
        tally.sent.add(request.usage)
        await self._unrecorded.put(request)

    async def _generate(self, request: MeteredRequest, wanted_tokens: int) -> None:
        generated = reports = 0
        while generated < wanted_tokens:
            free = request.free_tokens or await self._wait_for_tokens(request)
            if not free:
                return
            tokens = min(free, wanted_tokens - generated, self._report_every - generated % self._report_every)
            request.output(tokens)
            generated += tokens
            if generated % self._report_every == 0:
                request.report()
                reports += 1
                if reports % _REPORTS_A_TURN == 0:
                    await self._client.drain()
                    await asyncio.sleep(0)

    async def _wait_for_tokens(self, request: MeteredRequest) -> int:
        try:
            free = await request.wait_for_tokens()
        except Unreachable:
            self._tally.stops["UNREACHABLE"] += 1
            return 0
        if not free and request.denial is not None:
            self._tally.stops[request.denial.reason] += 1
        elif not free:
            self._tally.cut_short += 1
        return free

    async def _take_receipts(self) -> None:
        """Takes in receipts in the order in which requests finished, which is nearly that in which they come."""
        attempts = _RECORD_ATTEMPTS
        while (request := await self._unrecorded.get()) is not None:
            # What never becomes durable shows in the reconciliation.
            while True:
                with contextlib.suppress(Unreachable):
                    await self._take_receipt(request)
                    attempts = _RECORD_ATTEMPTS
                    break
                attempts -= 1
                if attempts <= 0:
                    break

    async def _take_receipt(self, request: MeteredRequest) -> None:
        try:
            receipt = await request.wait_recorded()
        except Denied as denied:
            self._tally.refused_finishes[denied.reason] += 1
            return
        self._tally.durable += 1
        self._tally.acknowledged.add(request.usage)
        if receipt is not None:
            self._tally.receipts.add(receipt)
