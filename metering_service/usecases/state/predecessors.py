"""Finishes that wait until the part which they go on from is booked: bounded in time and in number.

The node that gave a grant may have heard of a finish above it, too, and books it then. A node that is gone is found
lost, fenced and booked well within the time that a finish waits; so what is not booked by then will not be, or runs on
for as long as somebody keeps a stream to its node open. Then the finish is booked by itself: what lies beyond the grant
here, the grant by its own node, should that ever come back.

These waits have a number of their own, so that they keep nothing else from being taken in. Where there are too many,
the oldest is booked by itself.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from metering_service.usecases.ports import RequestName
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.state.waiter import Waiter

QUERY_AGAIN_NS: Final = 200_000_000
"""Minimum delay of the next query for the end of a part."""
QUERY_AGAIN_MAX_NS: Final = 2_000_000_000
"""Maximum of that delay."""
QUERIES_PER_WAIT: Final = 10
"""Divisor of the time waited: the next query comes after a tenth of it."""


class _Wait:
    """The finishes of one request. It does not begin again when one of them is repeated."""

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self.query_ns = since_ns
        """When the next look is due."""
        self.count = 0


class Predecessors:
    """Which requests wait for a part before theirs, and since when."""

    def __init__(self, settings: NodeSettings) -> None:
        self._wait_max_ns = settings.predecessor_wait_max_ns
        self._count_max = settings.predecessor_waits_max
        self._waits: OrderedDict[RequestName, _Wait] = OrderedDict()
        self._given_up: dict[RequestName, None] = {}
        self._kept_count = 0
        self.count = 0
        """How many reports wait, also those that are about to be booked by themselves."""

    def may_wait(self, name: RequestName, waiters: Iterable[Waiter], now_ns: int) -> bool:
        """Have reports of a request wait, or go on to; False where they have waited enough.

        Those that were not counted here before are from now on.
        """
        if name in self._given_up:
            return False
        wait = self._waits.get(name)
        if wait is None:
            wait = self._waits[name] = _Wait(now_ns)
        for waiter in waiters:
            if not waiter.awaits_end:
                waiter.awaits_end = True
                wait.count += 1
                self._kept_count += 1
                self.count += 1
        return now_ns - wait.since_ns < self._wait_max_ns

    def query_after_ns(self, name: RequestName, now_ns: int) -> int | None:
        """In how many nanoseconds a request that waits is to be looked at; None where that is arranged already."""
        wait = self._waits.get(name)
        if wait is None or now_ns < wait.query_ns:
            return None
        waited_ns = now_ns - wait.since_ns
        delay_ns = min(
            max(QUERY_AGAIN_NS, waited_ns // QUERIES_PER_WAIT), QUERY_AGAIN_MAX_NS, self._wait_max_ns - waited_ns
        )
        # A little sooner: the timer need not go by the same clock.
        wait.query_ns = now_ns + delay_ns // 10 * 9
        return delay_ns

    def give_up_oldest(self) -> RequestName | None:
        """A request that is to wait no longer, as too many do; None where that is not so."""
        if self._kept_count <= self._count_max:
            return None
        name, wait = self._waits.popitem(last=False)
        self._kept_count -= wait.count
        self._given_up[name] = None
        return name

    def end(self, name: RequestName, waiters: Iterable[Waiter]) -> list[Waiter]:
        """The wait is over, for whatever reason; those reports that were counted here and are no longer."""
        wait = self._waits.pop(name, None)
        if wait is not None:
            self._kept_count -= wait.count
        self._given_up.pop(name, None)
        ended = [waiter for waiter in waiters if waiter.awaits_end]
        for waiter in ended:
            waiter.awaits_end = False
        self.count -= len(ended)
        return ended
