"""A lease in the hands of this node: what is free, held, booked and committed of one budget, for one service.

Three counters only grow: granted (the control service owns it), consumed (booked here and committed in the metering
database) and returned (given back unused). Everything else follows from them and from what requests hold.
"""

from dataclasses import dataclass
from typing import NamedTuple

from metering_service.domain.budget import BudgetKind
from metering_service.domain.funding import Offer
from metering_service.domain.grant import SHARE

CONFIRMED_EMPTY_NS = 1_000_000_000
RATE_CONFIRMED_EMPTY_NS = 50_000_000
IDLE_NS = 1_000_000_000
RATE_IDLE_NS = 500_000_000
BURN_WINDOW_NS = 200_000_000
ASK_INTERVAL_NS = 20_000_000
CLOSE_AFTER_NS = 60_000_000_000
PREFETCH_FACTOR = SHARE
"""A grant takes one part in so many of what is free: what is asked for ahead is to be enough for one of full size."""
SPARE_FACTOR = 64
"""A lease at rest that has so many times its burn gives back all of it, not a part as often as its burn halves."""
RESERVE_INTERVAL_NS = 1_000_000_000
"""So often a reserve that is short is asked for: a budget that does not have it is not to be bothered all the time."""
RESERVE_AFTER_RECALL_NS = 10_000_000_000
"""Who had to give its reserve to another node does not ask for it at once: it would only be recalled again."""
WANTED_MAX = 10**17
"""The control service takes no level above 10^18."""

RATE_KINDS = frozenset({BudgetKind.RESERVATION_INPUT, BudgetKind.RESERVATION_OUTPUT})


class LeaseStatement(NamedTuple):
    """What this node says of a lease. Levels and growing counters only, so that saying it twice does no harm."""

    lease_id: str
    service: str
    service_uid: str
    kind: BudgetKind
    consumed_units: int
    returned_units: int
    held_units: int
    wanted_units: int
    needed_units: int
    closing: bool


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    """What the control service answers. `empty`: confirmed that nothing is free or can be recalled."""

    lease_id: str
    granted_units: int
    empty: bool
    recalling: bool
    available_units: int
    leased_elsewhere_units: int
    accrues_after_ms: int | None
    closed: bool


class Lease:
    """One lease. Not thread-safe; all calls happen on the event loop."""

    __slots__ = (
        "_asked_before_replenished",
        "_burn_units",
        "_empty_until_ns",
        "_last_asked_ns",
        "_last_burn_ns",
        "_last_change_ns",
        "_last_stated",
        "_last_take_ns",
        "_lets_go",
        "_reserve_after_ns",
        "_reserve_asked_ns",
        "_taken_since",
        "accrues_after_ms",
        "available_units",
        "booked",
        "closing",
        "committed",
        "full_units",
        "granted",
        "held",
        "kind",
        "lease_id",
        "leased_elsewhere_units",
        "needed",
        "recalled",
        "reserve",
        "returned",
        "service",
        "service_uid",
    )

    def __init__(self, lease_id: str, service: str, service_uid: str, kind: BudgetKind) -> None:
        self.lease_id = lease_id
        self.service = service
        self.service_uid = service_uid
        self.kind = kind
        self.granted = 0
        self.returned = 0
        self.booked = 0
        self.committed = 0
        self.held = 0
        self.needed = 0
        self.full_units = 0
        """What a grant of full size would take for one of those who wait; 0 while nobody has said."""
        self.recalled = False
        self.reserve = 0
        """Free units to have in any case, for an outage of the control service."""
        self.closing = False
        self.available_units = 0
        self.leased_elsewhere_units = 0
        self.accrues_after_ms: int | None = None
        self._empty_until_ns = 0
        self._asked_before_replenished = False
        self._lets_go = False
        self._reserve_after_ns = 0
        self._reserve_asked_ns = 0
        self._taken_since = 0
        self._burn_units = 0
        self._last_asked_ns = 0
        self._last_burn_ns = 0
        self._last_change_ns = 0
        self._last_take_ns = 0
        self._last_stated: LeaseStatement | None = None

    @property
    def free(self) -> int:
        """Units that a request could hold now. Below zero after a debt."""
        return self.granted - self.returned - self.booked - self.held

    def offer(self, now_ns: int) -> Offer:
        """What this lease offers to a request."""
        free = self.free
        return Offer(max(0, free) if not self.closing else 0, now_ns < self._empty_until_ns)

    def hold(self, units: int, now_ns: int) -> None:
        """Set units aside for a request; negative gives them back."""
        self.held += units
        if units > 0:
            if self._last_take_ns == 0:
                self._last_burn_ns = now_ns
            self._taken_since += units
            self._last_take_ns = self._last_change_ns = now_ns

    def book(self, held_units: int, used_units: int) -> None:
        """A request is settled: its hold goes, what it used stays. More used than held is a debt."""
        self.held -= held_units
        self.booked += used_units

    def need(self, units: int) -> None:
        """One more request waits, for so many units to be free."""
        self.needed = min(WANTED_MAX, self.needed + units)

    def nobody_waits(self) -> None:
        """Forget what was needed; who still waits says so again."""
        self.needed = self.full_units = 0

    def replenished(self) -> None:
        """The control service says that asking again may help."""
        self._empty_until_ns = 0
        self._asked_before_replenished = True

    @property
    def is_spent(self) -> bool:
        """Whether there is nothing in it, and nothing to settle."""
        return self.settled and self.free <= 0 and self.needed == 0

    def is_idle(self, now_ns: int) -> bool:
        """Whether it is spent and has been left alone for so long that it may be closed."""
        return self.is_spent and now_ns - self._last_change_ns > CLOSE_AFTER_NS

    def is_low(self, now_ns: int) -> bool:
        """Whether to ask for more now, before somebody has to wait: less than a second's burn is left."""
        return (
            self.free < max(self._burn_units, self._taken_since)
            and not self.closing
            and now_ns >= self._empty_until_ns
            and now_ns - self._last_asked_ns >= ASK_INTERVAL_NS
        )

    def statement(self, now_ns: int, *, idle: bool) -> LeaseStatement | None:
        """What there is to say now; None if nothing changed since the last answer. May give back what is not needed.

        `idle`: no request of the service is open or waiting.
        """
        self._last_asked_ns = now_ns
        # One that was just made has not been left alone for long.
        self._last_change_ns = self._last_change_ns or now_ns
        self._asked_before_replenished = False
        self._measure_burn(now_ns)
        if self.recalled:
            self._reserve_after_ns = now_ns + RESERVE_AFTER_RECALL_NS
        # Two that each hold half of what either needs would starve each other: who is recalled lets go for one round.
        yields = (self.recalled or self._lets_go) and 0 < self.free < self.needed
        if yields:
            self._return(self.free)
        else:
            self._give_back(now_ns, idle=idle)
        ahead, wanted = (0, 0) if self.closing or yields else self._wanted(now_ns)
        said = LeaseStatement(
            self.lease_id,
            self.service,
            self.service_uid,
            self.kind,
            self.committed,
            self.returned,
            self.held + self.booked - self.committed,
            wanted,
            0 if yields else self.needed,
            # The last word on a lease comes after the last commit on it.
            self.closing and self.settled,
        )
        free = max(0, self.free)
        short = wanted > free and now_ns - self._reserve_asked_ns >= RESERVE_INTERVAL_NS
        hungry = self.needed > 0 or ahead > free or short
        if not hungry and not self.recalled and not self.closing and self._is_old_news(said):
            return None
        self._reserve_asked_ns = now_ns
        return said

    def answered(self, said: LeaseStatement, answer: LeaseAnswer, asked_ns: int, now_ns: int) -> None:
        """Take in the answer to a statement."""
        self._last_stated = said
        self.recalled = False
        got_more = answer.granted_units > self.granted
        self.granted = max(self.granted, answer.granted_units)
        self.available_units = answer.available_units
        self.leased_elsewhere_units = answer.leased_elsewhere_units
        self.accrues_after_ms = answer.accrues_after_ms
        nothing_anywhere = answer.available_units <= 0 and answer.leased_elsewhere_units == 0 and said.needed_units > 0
        # A rest that is too small for those who wait may be all that keeps an account from being told to pay.
        self._lets_go = self.kind is BudgetKind.MONEY and answer.empty and 0 < self.free < said.needed_units
        if self._asked_before_replenished:
            # What it says of emptiness was overtaken.
            self._empty_until_ns = 0
        elif answer.empty or (nothing_anywhere and not got_more):
            # A rate refills at once; but whoever waits for it may have to ask its other payers too, one by one.
            rate_ns = RATE_CONFIRMED_EMPTY_NS + 4 * (now_ns - asked_ns)
            self._empty_until_ns = asked_ns + (rate_ns if self.kind in RATE_KINDS else CONFIRMED_EMPTY_NS)
        elif got_more or answer.recalling:
            self._empty_until_ns = 0
        if got_more:
            # Whoever asked for it may first have to wait for another payer's lease.
            self._last_change_ns = asked_ns

    @property
    def settled(self) -> bool:
        """Whether nothing of this lease is held or waits for its commit."""
        return self.held == 0 and self.booked == self.committed

    @property
    def told(self) -> bool:
        """Whether control has heard of everything that was consumed and returned."""
        said = self._last_stated
        return said is not None and (said.consumed_units, said.returned_units) == (self.committed, self.returned)

    def _is_old_news(self, said: LeaseStatement) -> bool:
        """Whether control has heard it. That less is wanted is no news: nothing is granted unless it is asked for."""
        last = self._last_stated
        return last is not None and said == last._replace(wanted_units=min(said.wanted_units, last.wanted_units))

    def _measure_burn(self, now_ns: int) -> None:
        elapsed_ns = now_ns - self._last_burn_ns
        if elapsed_ns >= BURN_WINDOW_NS:
            # It halves with each window, however seldom this lease is looked after.
            windows = min(elapsed_ns // BURN_WINDOW_NS, 63)
            self._burn_units = (self._burn_units >> windows) + self._taken_since * 1_000_000_000 // elapsed_ns // 2
            self._taken_since = 0
            self._last_burn_ns = now_ns

    def _wanted(self, now_ns: int) -> tuple[int, int]:
        """Free units to aim for, without and with the reserve: some seconds of burn (less of a rate: it refills)."""
        if now_ns < self._empty_until_ns and not self.needed:
            return max(0, self.free), max(0, self.free)
        rate = self.kind in RATE_KINDS
        # A burst shows in what was taken since the last measurement, before it shows in the burn.
        ahead = self._burn_units // 4 if rate else max(self._burn_units * 2, self._taken_since * PREFETCH_FACTOR)
        ahead = max(ahead, self.needed if rate else self.needed * PREFETCH_FACTOR, self.full_units * PREFETCH_FACTOR)
        reserve = self.reserve if now_ns >= self._reserve_after_ns else 0
        return min(WANTED_MAX, ahead), min(WANTED_MAX, ahead + reserve)

    def _give_back(self, now_ns: int, *, idle: bool) -> None:
        free = self.free
        if free <= 0 or self.needed:
            return
        quiet_ns = now_ns - self._last_change_ns
        rate = self.kind in RATE_KINDS
        unused = (idle and quiet_ns > IDLE_NS) or (rate and quiet_ns > RATE_IDLE_NS)
        if self.closing or self.recalled or self._lets_go:
            self._return(free)
            return
        free -= self.reserve
        if not rate and quiet_ns > IDLE_NS and free > SPARE_FACTOR * self._burn_units:
            # What is left of the burn would otherwise be asked for again at once.
            self._burn_units = 0
            unused = True
        if unused and free > 0:
            self._return(free)

    def _return(self, units: int) -> None:
        """Give back; what was confirmed empty is not, with that in it."""
        self.returned += units
        self._empty_until_ns = 0
