"""The hold of one request at a gateway: what was granted for it, in one part or in several."""

from __future__ import annotations

import asyncio

from tallygate.client import MeteredRequest, Usage
from tallygate.client.allowance import Timer
from tallygate.integrations.ratelimit.descriptors import Named, usage_of
from tallygate.integrations.ratelimit.reservation import Reservation, part_id, split


class Hold:
    """What is known of one request from its first call on. A further reservation adds a part to it.

    Attributes:
        named: What its descriptors name.
        request_id: Its id.
        kind: Kind of the tokens that are reserved.
        tokens: Number of those; 0 where nothing is.
        is_over: Whether it was finished.
        usage: What it has used, once that was said.
        lock: Held while parts are added or finished.
    """

    def __init__(self, named: Named, request_id: str, kind: str) -> None:
        self.named = named
        self.request_id = request_id
        self.kind = kind
        self.tokens = 0
        self.is_over = False
        self.usage: Usage | None = None
        self.lock = asyncio.Lock()
        self._parts: list[tuple[MeteredRequest, int]] = []
        self._timer: Timer | None = None

    @property
    def first(self) -> MeteredRequest | None:
        """Its first part, once that is authorised."""
        return self._parts[0][0] if self._parts else None

    @property
    def service(self) -> str:
        """The service that pays, as far as it is known."""
        return self._parts[0][0].service if self._parts else self.named.service

    @property
    def has_several_parts(self) -> bool:
        """Whether it was renewed for more than it held."""
        return len(self._parts) > 1

    @property
    def may_end(self) -> bool:
        """Whether it may be ended before its time: nothing is reserved for it, and nobody is at work on it."""
        is_idle = self.first is not None and not self.lock.locked()
        return is_idle and (self.is_over or not self.tokens)

    @property
    def next_id(self) -> str:
        """The id of its next part."""
        return part_id(self.request_id, len(self._parts))

    @property
    def reservation(self) -> Reservation:
        """Where it is, for whoever commits it."""
        return Reservation(self.service, self.request_id, tuple(tokens for _, tokens in self._parts) or (0,))

    def add(self, request: MeteredRequest, tokens: int) -> None:
        """Takes in a part that was authorised."""
        self.tokens += tokens
        self._parts.append((request, tokens))
        if tokens:
            # So that a node books it should nobody ever say what was used, also where this process is gone by then.
            request.set_usage(usage_of({self.kind: tokens}), estimated=True)
            request.report()

    def finish(self, usage: Usage, *, estimated: bool) -> None:
        """Finishes all parts: of the reserved kind each has what it held, and the last one the rest."""
        self.is_over = True
        self.usage = None if estimated else usage
        shares = split(usage, self.kind, self.reservation.parts)
        for (request, _), share in zip(self._parts, shares, strict=True):
            request.finish(share, estimated=estimated, want_receipt=False)

    async def wait_recorded(self) -> None:
        """Waits until every part is on record.

        Raises:
            MeteringError: As of `MeteredRequest.wait_recorded`.
        """
        for request, _ in self._parts:
            await request.wait_recorded()

    def restart_timer(self, timer: Timer) -> None:
        """Replaces what happens if nothing else does."""
        self.stop_timer()
        self._timer = timer

    def stop_timer(self) -> None:
        """Nothing happens by itself any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
