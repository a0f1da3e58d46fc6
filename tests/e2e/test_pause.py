"""A pause of the control service, frozen as a whole, while real programs are under load."""

import asyncio
import os
import signal
import time

from tallygate.client import Denied, MeteringClient, Unreachable
from tests.harness.client.patient import PATIENT
from tests.harness.patience import until
from tests.harness.programs.one_service import SERVICE, enable, meter_one
from tests.harness.programs.programs import Pair

REQUESTS_AT_ONCE = 40
STEPS, STEP_TOKENS, STEP_S = 10, 10, 0.1
LOAD_S = 5.0
PROMISED_S = 15.0
PAUSE_S = 12.0
"""Less than is promised: the machine may be busy with something else."""


class Load:
    """Servers that generate one answer after the other, and what became of these."""

    def __init__(self, client: MeteringClient) -> None:
        self._client = client
        self.is_over = False
        self.finished = 0
        self.failures: list[tuple[float, str]] = []
        """What was denied or cut, and when."""

    async def serve(self, place: int) -> None:
        """One answer after the other, of a hundred tokens and a second each."""
        await asyncio.sleep(place * STEPS * STEP_S / REQUESTS_AT_ONCE)
        while not self.is_over:
            try:
                await self._answer()
            except (Denied, Unreachable) as failure:
                self._note(repr(failure))
                await asyncio.sleep(STEP_S)

    async def _answer(self) -> None:
        async with self._client.request(SERVICE, input_tokens=50, receipt=False) as request:
            for _ in range(STEPS):
                await asyncio.sleep(STEP_S)
                request.output(STEP_TOKENS)
                if request.must_stop:
                    self._note(f"cut: {request.denial}")
                    return
        self.finished += 1

    def _note(self, failure: str) -> None:
        self.failures.append((time.monotonic(), failure))


async def test_a_frozen_control_service_is_not_felt(pair: Pair) -> None:
    """Forty requests at once: nothing is denied and no stream is cut for 15 s.

    A machine that is too slow to wake control in time is none of this test's business: later failures do not count.
    """
    await enable(pair)
    await meter_one(pair.metering, "a node that knows the service")
    # However slow the machine is, the node has its time to answer.
    async with MeteringClient(pair.metering.address, settings=PATIENT) as client:
        load = Load(client)
        servers = [asyncio.create_task(load.serve(place)) for place in range(REQUESTS_AT_ONCE)]
        try:
            await asyncio.sleep(LOAD_S)
            await until(lambda: load.finished >= 2 * REQUESTS_AT_ONCE)
            frozen_s, finished = time.monotonic(), load.finished
            os.kill(pair.control.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(PAUSE_S)
            finally:
                os.kill(pair.control.pid, signal.SIGCONT)
            await until(lambda: load.finished > finished + REQUESTS_AT_ONCE)
        finally:
            load.is_over = True
            await asyncio.gather(*servers)
    assert [failure for at_s, failure in load.failures if frozen_s <= at_s < frozen_s + PROMISED_S] == []
