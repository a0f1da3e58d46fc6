"""Open requests of gateways: each from the call that lets it through to the call that counts it, or to its time-out."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tallygate.client import Denial, Denied, MeteredRequest, MeteringClient, MeteringError, Overloaded, Usage
from tallygate.client.allowance import Later, later_on_loop
from tallygate.integrations.ratelimit.descriptors import INPUT_KINDS, DescriptorError, Named, usage_of
from tallygate.integrations.ratelimit.hold import Hold
from tallygate.integrations.ratelimit.reservation import parse
from tallygate.integrations.services import key_sha256

GATE_S: Final = 600
"""Time for which a request that was let through waits for its count."""
OPEN_MAX: Final = 5_000
"""Maximum number of requests that wait for a count; beyond it the oldest without a reservation is timed out."""
RESERVED_S: Final = 60
"""Time to live of a reservation that says none."""
RESERVED_S_MAX: Final = 3_600
"""Maximum time to live of a reservation: for longer no node keeps a request open by itself."""
TIDY_S: Final = 60
"""Time after which a request is forgotten that is over, but not on record yet, or in several records."""

_log = logging.getLogger("tallygate.integrations.ratelimit")


class OpenRequests:
    """Lets requests through, holds for them, and records what they used: once, however often that is said.

    What is lost with this process is only which requests were open: nodes settle them, and counts that come later are
    recorded all the same.
    """

    def __init__(self, client: MeteringClient, *, new_id: Callable[[], str], later: Later = later_on_loop) -> None:
        """`new_id`: makes ids of requests that gateways give none; `later`: the clock of time-outs."""
        self._client = client
        self._new_id = new_id
        self._later = later
        self._open: dict[str, Hold] = {}
        self._beginning: dict[Hold, asyncio.Task[None]] = {}
        self.counts: Counter[str] = Counter()
        """Number of requests by what became of them: opened, counted, counted late, timed out."""

    def __len__(self) -> int:
        return len(self._open)

    async def admit(self, named: Named, service: str) -> MeteredRequest | None:
        """Lets a request through, and keeps it open until it is counted.

        Raises:
            MeteringError: It may not run, or nobody could tell.
        """
        hold = self._find(named)
        if hold is None:
            self._make_room()
            request = self._request(named, service, named.request_id)
            hold = self._begin(Hold(named, named.request_id, "output"), request, 0, GATE_S)
        await self._begun(hold)
        return hold.first

    async def count(self, named: Named, service: str, usage: Usage) -> Denial | None:
        """Records the final counts of a request, and waits until they are durable.

        Returns:
            Why the service may not go on, where that was found out; what was used is on record all the same.

        Raises:
            MeteringError: The counts were not taken, or are not known to be on record: say them again.
        """
        hold, request_id = self._open.get(named.request_id), named.request_id or self._new_id()
        if hold is not None and hold.named.payer != named.payer:
            hold, request_id = None, self._other_id(request_id)
        if hold is None:
            return await self._record(named, service, [(request_id, usage)])
        if await self._finish(hold, usage):
            return None
        return await self._record(named, service, hold.reservation.shares(usage, hold.kind))

    async def reserve(self, named: Named, service: str, kind: str, tokens: int, ttl_s: float | None) -> str:
        """Holds so many tokens, or as many more as an earlier reservation of the same request lacks.

        Returns:
            The id of the reservation, which says where it is to another process as well.

        Raises:
            MeteringError: They cannot be held, or nobody could tell. What was held before stays held.
        """
        seconds = min(RESERVED_S if ttl_s is None else ttl_s, RESERVED_S_MAX)
        hold = self._find(named)
        if hold is None:
            self._make_room()
            request_id = named.request_id or self._new_id()
            request = self._request(named, service, request_id, (kind, tokens, seconds))
            hold = self._begin(Hold(named, request_id, kind), request, tokens, seconds if tokens else GATE_S)
            await self._begun(hold)
        else:
            await self._begun(hold)
            await self._extend(hold, service, (kind, tokens, seconds))
        return str(hold.reservation)

    async def commit(self, reservation_id: str, named: Named, service: str, usage: Usage, kind: str) -> bool:
        """Records what a reserved request used, and gives back what else was held for it; `kind`: of its tokens.

        Returns:
            Whether this process still knew the reservation; what was used is on record all the same.

        Raises:
            MeteringError: As of `count`.
        """
        reserved = parse(reservation_id)
        if not reserved.service:
            await self.count(named, service, usage)
            return False
        hold = self._open.get(reserved.request_id)
        if hold is not None and hold.service != reserved.service:
            # After its time, another service's request may have the same id, where clients choose these.
            reserved = replace(reserved, request_id=self._other_id(reserved.request_id))
        elif hold is not None:
            if await self._finish(hold, usage):
                return True
            reserved, kind = hold.reservation, hold.kind
        await self._record(Named(reserved.service), reserved.service, reserved.shares(usage, kind))
        return False

    def _other_id(self, request_id: str) -> str:
        _log.error("Request id %s is one of two requests at a time: what both used is recorded.", request_id)
        return self._new_id()

    async def _record(self, named: Named, service: str, shares: list[tuple[str, Usage]]) -> Denial | None:
        """Records what requests used of which nobody here knows, or that are over; by their ids."""
        self.counts["counted late"] += 1
        denial = None
        for request_id, usage in shares:
            try:
                record = await self._client.record(
                    service,
                    usage,
                    request_id=request_id,
                    credential_sha256=key_sha256(named.api_key),
                    model="" if service else named.model,
                    source_address=named.source_address,
                )
            except ValueError as error:
                raise _in_use(request_id) from error
            denial = record.denial or denial
        return denial

    def _find(self, named: Named) -> Hold | None:
        hold = self._open.get(named.request_id)
        if hold is not None and (hold.is_over or hold.named.payer != named.payer):
            raise _in_use(named.request_id)
        return hold

    def _make_room(self) -> None:
        if len(self._open) < OPEN_MAX:
            return
        oldest = next((hold for hold in self._open.values() if hold.may_end), None)
        if oldest is None:
            raise Overloaded(f"{len(self._open):,} requests wait for their counts, all of them with reservations.")
        self._forget(oldest) if oldest.is_over else self._time_out(oldest)

    def _request(
        self, named: Named, service: str, request_id: str, reserved: tuple[str, int, float] = ("output", 0, 0)
    ) -> MeteredRequest:
        """A request; with tokens, of a kind and for some seconds, one that holds all of them or is refused."""
        kind, tokens, seconds = reserved
        output_tokens = 0 if kind in INPUT_KINDS else tokens
        return self._client.request(
            service,
            request_id=request_id,
            credential_sha256=key_sha256(named.api_key),
            model="" if service else named.model,
            source_address=named.source_address,
            max_output_tokens=output_tokens if tokens else None,
            min_output_tokens=output_tokens or None,
            whole=tokens > 0,
            hold_for_s=seconds if tokens else None,
            input_tokens=tokens - output_tokens,
            receipt=False,
        )

    def _begin(self, hold: Hold, request: MeteredRequest, tokens: int, seconds: float) -> Hold:
        """Opens a hold. Its authorisation goes on though its caller may hang up: the request may run all the same."""
        self._open[hold.request_id] = hold
        task = asyncio.create_task(self._authorize(hold, request, tokens), name="tallygate authorisation")
        self._beginning[hold] = task
        task.add_done_callback(lambda it: self._end_beginning(hold, it, seconds))
        return hold

    def _end_beginning(self, hold: Hold, task: asyncio.Task[None], seconds: float) -> None:
        del self._beginning[hold]
        if task.cancelled() or task.exception() is not None:
            self._forget(hold)
        else:
            self.counts["opened"] += 1
            self._start_timer(hold, seconds)

    async def _begun(self, hold: Hold) -> None:
        """Waits until the first part of a hold is authorised."""
        task = self._beginning.get(hold)
        if task is not None:
            await asyncio.shield(task)

    async def _authorize(self, hold: Hold, request: MeteredRequest, tokens: int) -> None:
        """Adds a part to a hold."""
        try:
            await request.authorize()
        except ValueError as error:
            raise _in_use(request.request_id) from error
        hold.add(request, tokens)

    def _start_timer(self, hold: Hold, seconds: float) -> None:
        hold.restart_timer(self._later(seconds, lambda: self._time_out(hold)))

    async def _extend(self, hold: Hold, service: str, reserved: tuple[str, int, float]) -> None:
        kind, tokens, seconds = reserved
        async with hold.lock:
            if hold.is_over:
                raise _in_use(hold.request_id)
            if hold.tokens and hold.kind != kind:
                raise DescriptorError(
                    f"{hold.kind} tokens are reserved for request {hold.request_id}: {kind} is another kind."
                )
            # Nobody ends it meanwhile.
            hold.stop_timer()
            try:
                if tokens > hold.tokens:
                    hold.kind, more = kind, tokens - hold.tokens
                    part = self._request(hold.named, service, hold.next_id, (kind, more, seconds))
                    await self._authorize(hold, part, more)
            finally:
                self._start_timer(hold, seconds if hold.tokens else GATE_S)

    async def _finish(self, hold: Hold, usage: Usage) -> bool:
        """Records a hold's usage; False where that has to be said in another way: it was refused, or is over."""
        try:
            await self._begun(hold)
        except MeteringError:
            return False
        async with hold.lock:
            is_repeat = hold.is_over
            if not is_repeat:
                hold.finish(usage, estimated=False)
                self._forget_soon(hold)
                self.counts["counted"] += 1
            await hold.wait_recorded()
        if not hold.has_several_parts:
            self._forget(hold)
        return not is_repeat or hold.usage == usage

    def _time_out(self, hold: Hold) -> None:
        """Ends a request that nobody has counted: at what was reserved for it, as an estimate."""
        if not self.counts["timed out"]:
            _log.warning(
                "Request %s of %s was let through, and nobody has said what it used: it is recorded with %d tokens, as "
                "an estimate. From here on such requests are only counted.",
                hold.request_id,
                hold.service,
                hold.tokens,
            )
        self.counts["timed out"] += 1
        hold.finish(usage_of({hold.kind: hold.tokens}), estimated=True)
        self._forget_soon(hold) if hold.has_several_parts else self._forget(hold)

    def _forget_soon(self, hold: Hold) -> None:
        """Of several parts, what is said again goes into as many records."""
        hold.restart_timer(self._later(TIDY_S, lambda: self._forget(hold)))

    def _forget(self, hold: Hold) -> None:
        hold.stop_timer()
        if self._open.get(hold.request_id) is hold:
            del self._open[hold.request_id]


def _in_use(request_id: str) -> Denied:
    message = f"The request id {request_id[:64]} is in use: a gateway has to make one for each request."
    return Denied(Denial("REQUEST_ID_REUSED", message))
