"""The demand of a lease: how many free units to ask for, to keep, and to give back.

Requests that wait say what they need. Beyond that, a lease asks ahead by how fast it was taken from lately, so that the
next request need not wait, and gives back what rests.
"""

from typing import Final

from metering_service.domain.grant import SHARE
from metering_service.domain.pot import PotKind

CONFIRMED_EMPTY_NS: Final = 1_000_000_000
"""Time for which a pot that was confirmed to be empty is not asked again."""
RATE_CONFIRMED_EMPTY_NS: Final = 50_000_000
"""The same for a rate, which refills at once."""
IDLE_NS: Final = 1_000_000_000
"""Rest after which free units are given back."""
RATE_IDLE_NS: Final = 500_000_000
"""The same for a rate."""
BURN_WINDOW_NS: Final = 200_000_000
"""Interval over which the burn is measured; an older burn counts half with each."""
ASK_INTERVAL_NS: Final = 20_000_000
"""Minimum between two requests for more that nobody waits for."""
PREFETCH_FACTOR: Final = SHARE
"""Number of grants of full size that are asked for ahead: a grant takes one part in so many of what is free."""
SPARE_FACTOR: Final = 64
"""Multiple of the burn from which a lease at rest gives back all of it, not a part each time that its burn halves."""
RESERVE_INTERVAL_NS: Final = 1_000_000_000
"""Interval at which a reserve that is short is asked for: a pot that has nothing is not to be asked all the time."""
RESERVE_AFTER_RECALL_NS: Final = 10_000_000_000
"""Time for which a recalled reserve is not asked for: it would only be recalled again."""
WANTED_MAX: Final = 10**17
"""Maximum of a level in a statement; the control service takes none above 10^18."""

RATE_KINDS: Final = frozenset({PotKind.RESERVATION_INPUT, PotKind.RESERVATION_OUTPUT})


class LeaseDemand:
    """What the requests of one service want of one pot. Not thread-safe; all calls happen on the event loop."""

    __slots__ = (
        "_asked_before_replenished",
        "_burn_units",
        "_empty_until_ns",
        "_is_rate",
        "_last_asked_ns",
        "_last_burn_ns",
        "_last_take_ns",
        "_lets_go",
        "_reserve_after_ns",
        "_reserve_asked_ns",
        "_taken_since",
        "full_units",
        "last_change_ns",
        "needed",
        "recalled",
        "reserve",
    )

    def __init__(self, kind: PotKind) -> None:
        self._is_rate = kind in RATE_KINDS
        self.needed = 0
        """Units that requests wait for."""
        self.full_units = 0
        """Units that a grant of full size takes for one of those who wait; 0 while nobody has said."""
        self.reserve = 0
        """Free units to have in any case, for an outage of the control service."""
        self.recalled = False
        """Another node needs what is free."""
        self.last_change_ns = 0
        """The time at which units were taken or granted last."""
        self._empty_until_ns = 0
        self._asked_before_replenished = False
        self._lets_go = False
        self._reserve_after_ns = 0
        self._reserve_asked_ns = 0
        self._taken_since = 0
        self._burn_units = 0
        self._last_asked_ns = 0
        self._last_burn_ns = 0
        self._last_take_ns = 0

    def take(self, units: int, now_ns: int) -> None:
        """Units were set aside for a request."""
        if self._last_take_ns == 0:
            self._last_burn_ns = now_ns
        self._taken_since += units
        self._last_take_ns = self.last_change_ns = now_ns

    def need(self, units: int) -> None:
        """One more request waits, for this many units to be free."""
        self.needed = min(WANTED_MAX, self.needed + units)

    def forget_needs(self) -> None:
        """Forget what was needed; requests that still wait say so again."""
        self.needed = self.full_units = 0

    def replenished(self) -> None:
        """The control service reports that asking again may help."""
        self._empty_until_ns = 0
        self._asked_before_replenished = True

    def returned(self) -> None:
        """Units were given back: what was confirmed empty is not, with them in it."""
        self._empty_until_ns = 0

    def is_empty(self, now_ns: int) -> bool:
        """Whether the pot is confirmed to have nothing more for now."""
        return now_ns < self._empty_until_ns

    def is_low(self, free: int, now_ns: int) -> bool:
        """Whether to ask for more now, before a request has to wait: less than a second's burn is left."""
        return (
            free < max(self._burn_units, self._taken_since)
            and now_ns >= self._empty_until_ns
            and now_ns - self._last_asked_ns >= ASK_INTERVAL_NS
        )

    def begin_round(self, now_ns: int) -> None:
        """A statement is about to be made."""
        self._last_asked_ns = now_ns
        # A lease that was just opened has not been left alone for long.
        self.last_change_ns = self.last_change_ns or now_ns
        self._asked_before_replenished = False
        self._measure_burn(now_ns)
        if self.recalled:
            self._reserve_after_ns = now_ns + RESERVE_AFTER_RECALL_NS

    def yields(self, free: int) -> bool:
        """Whether to let go of what is free for one round, although more is needed.

        Two nodes that each hold half of what either needs would starve each other.
        """
        return (self.recalled or self._lets_go) and 0 < free < self.needed

    def wanted(self, free: int, now_ns: int) -> tuple[int, int]:
        """Free units to aim for, without and with the reserve: some seconds of burn (less of a rate: it refills)."""
        if self.is_empty(now_ns) and not self.needed:
            return max(0, free), max(0, free)
        # A burst shows in what was taken since the last measurement, before it shows in the burn.
        burst = self._taken_since * PREFETCH_FACTOR
        ahead = self._burn_units // 4 if self._is_rate else max(self._burn_units * 2, burst)
        needed = self.needed if self._is_rate else self.needed * PREFETCH_FACTOR
        ahead = max(ahead, needed, self.full_units * PREFETCH_FACTOR)
        reserve = self.reserve if now_ns >= self._reserve_after_ns else 0
        return min(WANTED_MAX, ahead), min(WANTED_MAX, ahead + reserve)

    def is_hungry(self, free: int, ahead: int, wanted: int, now_ns: int) -> bool:
        """Whether a statement is worth making for what is wanted alone."""
        is_short = wanted > free and now_ns - self._reserve_asked_ns >= RESERVE_INTERVAL_NS
        return self.needed > 0 or ahead > free or is_short

    def stated(self, now_ns: int) -> None:
        """A statement was made."""
        self._reserve_asked_ns = now_ns

    def surplus(self, free: int, now_ns: int, *, idle: bool, closing: bool) -> int:
        """Units to give back.

        Args:
            free: Units that no request holds.
            now_ns: The time.
            idle: No request of the service is open or waiting.
            closing: The lease ends.
        """
        if free <= 0 or self.needed:
            return 0
        if closing or self.recalled or self._lets_go:
            return free
        quiet_ns = now_ns - self.last_change_ns
        is_unused = (idle and quiet_ns > IDLE_NS) or (self._is_rate and quiet_ns > RATE_IDLE_NS)
        free -= self.reserve
        if not self._is_rate and quiet_ns > IDLE_NS and free > SPARE_FACTOR * self._burn_units:
            # What is left of the burn would otherwise be asked for again at once.
            self._burn_units = 0
            is_unused = True
        return max(0, free) if is_unused else 0

    def answered(
        self, *, lets_go: bool, is_empty: bool, got_more: bool, recalling: bool, asked_ns: int, now_ns: int
    ) -> None:
        """Take in what the control service answered.

        Args:
            lets_go: What is free is to be given back in the next round, as it is too small for those who wait.
            is_empty: The pot has nothing for those who wait, and nothing can be recalled.
            got_more: More was granted than before.
            recalling: Units were recalled from other nodes.
            asked_ns: The time at which the statement was made.
            now_ns: The time.
        """
        self.recalled = False
        self._lets_go = lets_go
        if self._asked_before_replenished:
            # The answer's emptiness was overtaken.
            self._empty_until_ns = 0
        elif is_empty:
            # A rate refills at once; but a request that waits may have to ask its other payers too, one by one.
            rate_ns = RATE_CONFIRMED_EMPTY_NS + 4 * (now_ns - asked_ns)
            self._empty_until_ns = asked_ns + (rate_ns if self._is_rate else CONFIRMED_EMPTY_NS)
        elif got_more or recalling:
            self._empty_until_ns = 0
        if got_more:
            # The request that needed it may first have to wait for another payer's lease.
            self.last_change_ns = asked_ns

    def _measure_burn(self, now_ns: int) -> None:
        elapsed_ns = now_ns - self._last_burn_ns
        if elapsed_ns >= BURN_WINDOW_NS:
            # It halves with each window, however seldom statements are made.
            windows = min(elapsed_ns // BURN_WINDOW_NS, 63)
            self._burn_units = (self._burn_units >> windows) + self._taken_since * 1_000_000_000 // elapsed_ns // 2
            self._taken_since = 0
            self._last_burn_ns = now_ns
