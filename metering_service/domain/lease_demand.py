"""The demand of a lease: how many free units to ask for, to keep, and to give back.

Requests that wait say what they need. Beyond that, a lease asks ahead by its burn, so that requests go on while the
control service is slow or away, and gives back what rests, or what is too much while the pot runs low.
"""

from typing import Final

from metering_service.domain.burn import WINDOW_NS, Burn
from metering_service.domain.grant import SHARE
from metering_service.domain.pot import PotKind

CONFIRMED_EMPTY_NS: Final = 1_000_000_000
"""Time for which a pot that was confirmed to be empty is not asked again."""
RATE_CONFIRMED_EMPTY_NS: Final = 50_000_000
"""The same for a rate, which refills at once."""
IDLE_NS: Final = 1_000_000_000
"""Rest after which free units are given back, where no request is open."""
RATE_IDLE_NS: Final = 500_000_000
"""The same for a reservation's rate, whatever is open."""
GIVE_BACK_INTERVAL_NS: Final = 1_000_000_000
"""Minimum between two times that a lease in use gives back what is too much."""
AHEAD_S: Final = 20
"""Seconds of burn that a lease aims to have free: as long as leases are valid without the control service."""
AHEAD_LEAST_S: Final = 5
"""The same while much of the pot is on lease."""
REFILLING_AHEAD_S: Final = 2
"""The same of what comes back by itself."""
LEASED_SHARE: Final = 4
"""Divisor of what is left of a pot: while more than one part in so many is on lease, leases give back what they can."""
BURST_WINDOW_NS: Final = 200_000_000
"""Interval in which what is taken counts as a burst, which shows sooner than in the burn."""
ASK_INTERVAL_NS: Final = 20_000_000
"""Minimum between two requests for more that nobody waits for."""
PREFETCH_FACTOR: Final = SHARE
"""Number of grants of full size that are asked for ahead: a grant takes one part in so many of what is free."""
RESERVE_INTERVAL_NS: Final = 1_000_000_000
"""Interval at which a reserve that is short is asked for: a pot that has nothing is not to be asked all the time."""
LOOK_INTERVAL_NS: Final = 60_000_000_000
"""Interval at which a lease is looked at to which nothing happens, and nothing is known to happen with time."""
RESERVE_AFTER_RECALL_NS: Final = 10_000_000_000
"""Time for which a recalled reserve is not asked for: it would only be recalled again."""
WANTED_MAX: Final = 10**17
"""Maximum of a level in a statement; the control service takes none above 10^18."""

RATE_KINDS: Final = frozenset({PotKind.RESERVATION_INPUT, PotKind.RESERVATION_OUTPUT})
REFILLING_KINDS: Final = RATE_KINDS | {PotKind.RATE, PotKind.SLOTS}
"""Kinds of pots of which units come back by themselves, so that little is to be had ahead."""


class LeaseDemand:
    """What the requests of one service want of one pot. Not thread-safe; all calls happen on the event loop."""

    __slots__ = (
        "_ahead_max",
        "_asked_before_replenished",
        "_burn",
        "_burn_units",
        "_burst_ns",
        "_contended_asked_ns",
        "_empty_until_ns",
        "_gave_back_ns",
        "_is_load_new",
        "_is_rate",
        "_is_refilling",
        "_is_scarce",
        "_last_asked_ns",
        "_last_take_ns",
        "_lets_go",
        "_load_began_ns",
        "_reserve_after_ns",
        "_reserve_asked_ns",
        "_taken_since",
        "burn_units",
        "full_units",
        "last_change_ns",
        "needed",
        "recalled",
        "reserve",
    )

    def __init__(self, kind: PotKind) -> None:
        self._is_rate = kind in RATE_KINDS
        self._is_refilling = kind in REFILLING_KINDS
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
        self.burn_units = 0
        """Burn a second that control is told; 0 while it is not known, and of what refills."""
        self._ahead_max: int | None = None
        self._asked_before_replenished = False
        self._burn = Burn()
        self._burn_units = 0
        self._burst_ns = 0
        self._contended_asked_ns = -1
        self._empty_until_ns = 0
        self._gave_back_ns = 0
        self._is_load_new = False
        self._is_scarce = False
        self._last_asked_ns = 0
        self._last_take_ns = 0
        self._lets_go = False
        self._load_began_ns = 0
        self._reserve_after_ns = 0
        self._reserve_asked_ns = 0
        self._taken_since = 0

    def take(self, units: int, now_ns: int) -> None:
        """Units were set aside for a request."""
        if self._last_take_ns == 0 or now_ns - self._last_take_ns > WINDOW_NS:
            self._is_load_new = True
            self._load_began_ns = self._burst_ns = now_ns
            self._taken_since = 0
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

    def is_contended_since(self, since_ns: int) -> bool:
        """Whether control, asked after this moment, has confirmed that others have what requests wait for here."""
        return self._contended_asked_ns >= since_ns

    def is_low(self, free: int, now_ns: int) -> bool:
        """Whether to ask for more now, before a request has to wait: less than a second's burn is left."""
        return (
            free < max(self._burn_units, self._taken_since)
            and now_ns >= self._empty_until_ns
            and now_ns - self._last_asked_ns >= ASK_INTERVAL_NS
        )

    def begin_round(self, used_units: int, now_ns: int) -> None:
        """A statement is about to be made. `used_units`: held and booked, of which nothing came back."""
        self._last_asked_ns = now_ns
        # A lease that was just opened has not been left alone for long.
        self.last_change_ns = self.last_change_ns or now_ns
        self._asked_before_replenished = False
        self._measure_burn(used_units, now_ns)
        if self.recalled:
            self._reserve_after_ns = now_ns + RESERVE_AFTER_RECALL_NS

    def yields(self, free: int) -> bool:
        """Whether to let go of what is free for one round, although more is needed.

        Two nodes that each hold half of what either needs would starve each other.
        """
        return (self.recalled or self._lets_go) and 0 < free < self.needed

    def wanted(self, free: int, now_ns: int) -> tuple[int, int]:
        """Free units to aim for, without and with the reserve."""
        if self.is_empty(now_ns) and not self.needed:
            return max(0, free), max(0, free)
        needed = self.needed if self._is_rate else self.needed * PREFETCH_FACTOR
        ahead = max(self._ahead(), needed, self.full_units * PREFETCH_FACTOR)
        reserve = self.reserve if now_ns >= self._reserve_after_ns else 0
        return min(WANTED_MAX, ahead), min(WANTED_MAX, ahead + reserve)

    def _ahead(self) -> int:
        """Free units to have for requests that have not come yet: some seconds of burn (less of what refills)."""
        if self._is_rate:
            return self._burn_units // 4
        # A burst shows in what was taken since the last measurement, before it shows in the burn.
        burst = self._taken_since * PREFETCH_FACTOR
        if self._is_refilling:
            return max(self._burn_units * REFILLING_AHEAD_S, burst)
        ahead = self._burn_units * AHEAD_S
        if self._ahead_max is not None:
            ahead = max(self._burn_units * AHEAD_LEAST_S, min(ahead, self._ahead_max))
        return max(ahead, burst)

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
        if self.needed:
            return 0
        at_rest = now_ns - self.last_change_ns > self._rest_ns(idle=idle)
        if at_rest:
            self._forget_load()
        if closing or self.recalled or self._lets_go:
            return max(0, free)
        free -= self.reserve if not self._is_rate else 0
        if at_rest:
            return max(0, free)
        if self._is_scarce and self._burn.is_known(now_ns) and now_ns - self._gave_back_ns >= GIVE_BACK_INTERVAL_NS:
            self._gave_back_ns = now_ns
            return max(0, free - self._ahead())
        return 0

    def next_look_ns(self, free: int, now_ns: int, *, idle: bool) -> int:
        """When time alone may make a statement worth while, where none was now; `free` and `idle` as for `surplus`."""
        rests_ns = self.last_change_ns + self._rest_ns(idle=idle)
        is_active = now_ns <= rests_ns and (self._is_scarce or self.is_empty(now_ns))
        if is_active or self.needed or self.recalled or self._lets_go or free < self.reserve:
            return now_ns
        return rests_ns if now_ns <= rests_ns else now_ns + LOOK_INTERVAL_NS

    def _forget_load(self) -> None:
        """What is left of the burn would otherwise be asked for again at once."""
        self._burn.end()
        self._is_load_new = False
        self.burn_units = self._burn_units = self._taken_since = self._last_take_ns = 0

    def _rest_ns(self, *, idle: bool) -> int:
        """Rest after which nothing is expected of requests; those that run ask once more within the burn's window."""
        if self._is_rate:
            return RATE_IDLE_NS
        return IDLE_NS if idle or self._is_scarce or self._is_refilling else WINDOW_NS

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
        if is_empty or recalling:
            self._contended_asked_ns = asked_ns
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

    def learn_room(self, free: int, own_units: int, leased_units: int, available_units: int) -> None:
        """Take in how much of the pot is on lease: one part in `LEASED_SHARE` of what is left may be.

        Args:
            free: Units of this lease that no request holds.
            own_units: Units that are on this lease.
            leased_units: Units that are on any lease on the pot.
            available_units: Units that are on none.
        """
        if self._is_refilling:
            return
        room = (leased_units + max(0, available_units)) // LEASED_SHARE - leased_units
        self._is_scarce = room < 0
        if room < 0:
            # Each lease gives back its part of what is too much.
            room = room * own_units // leased_units
        self._ahead_max = max(0, free + room)

    def _measure_burn(self, used_units: int, now_ns: int) -> None:
        if self._is_load_new:
            self._is_load_new = False
            self._burn.begin(used_units - self._taken_since, self._load_began_ns)
        self._burn.mark(used_units, now_ns)
        self._burn_units = self._burn.units_per_s(used_units, now_ns)
        self.burn_units = 0 if self._is_refilling or not self._burn.is_known(now_ns) else self._burn_units
        if now_ns - self._burst_ns >= BURST_WINDOW_NS:
            self._taken_since = 0
            self._burst_ns = now_ns
