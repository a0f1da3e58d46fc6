"""A lease in the hands of this node: what is free, held, booked and committed of one pot.

Of a payer it is for one service, of a limit's pot for all services of the account.

Three counters only grow: granted (the control service owns it), consumed (booked here and committed in the metering
database) and returned (given back unused). Everything else follows from them and from what requests hold. A rate rule's
lease has a fourth, refunded: see rate_lease.py.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from metering_service.domain.funding import Offer
from metering_service.domain.lease_demand import LeaseDemand
from metering_service.domain.pot import LimitPotKey, PotKind
from metering_service.domain.rate_rule import NS_PER_MS

CLOSE_AFTER_NS: Final = 60_000_000_000
"""Rest after which a lease with nothing in it is closed."""


class LeaseStatement(NamedTuple):
    """What this node reports of a lease. Levels and growing counters only, so that a repeat does no harm."""

    lease_id: str
    service: str
    service_uid: str
    kind: PotKind
    consumed_units: int
    returned_units: int
    held_units: int
    wanted_units: int
    needed_units: int
    closing: bool
    refunded_units: int = 0
    limit_pot: LimitPotKey | None = None
    """The pot of a limit; then the service is the account, and has no uid."""
    burn_units: int = 0
    """Units that requests take a second, where control is to leave the lease some seconds of it."""


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
    """One lease: its ledger, and the demand on it. Not thread-safe; all calls happen on the event loop."""

    __slots__ = (
        "_last_statement",
        "available_units",
        "booked",
        "closing",
        "committed",
        "demand",
        "granted",
        "held",
        "kind",
        "lease_id",
        "leased_elsewhere_units",
        "limit_pot",
        "refunded",
        "returned",
        "returns_ns",
        "service",
        "service_uid",
    )

    def __init__(
        self, lease_id: str, service: str, service_uid: str, kind: PotKind, limit_pot: LimitPotKey | None = None
    ) -> None:
        """`limit_pot`: of a limit's pot, which one; then `service` is its account, and there is no uid."""
        self.lease_id = lease_id
        self.service = service
        self.service_uid = service_uid
        self.kind = kind
        self.limit_pot = limit_pot
        self.demand = LeaseDemand(kind)
        self.granted = 0
        self.returned = 0
        self.refunded = 0
        self.booked = 0
        self.committed = 0
        self.held = 0
        self.closing = False
        self.available_units = 0
        self.leased_elsewhere_units = 0
        self.returns_ns: int | None = None
        """Of slots: when those of silent nodes come back at the earliest, if none can be free before."""
        self._last_statement: LeaseStatement | None = None

    @property
    def free(self) -> int:
        """Units that a request could hold now. Below zero after a debt."""
        return self.granted + self.refunded - self.returned - self.booked - self.held

    def offer(self, now_ns: int) -> Offer:
        """What this lease offers to a request."""
        return Offer(self.at_hand_units, self.demand.is_empty(now_ns))

    @property
    def at_hand_units(self) -> int:
        """Units that it offers to a request."""
        free = self.granted + self.refunded - self.returned - self.booked - self.held
        return free if free > 0 and not self.closing else 0

    def hold(self, units: int, now_ns: int) -> None:
        """Set units aside for a request; negative gives them back."""
        self.held += units
        if units > 0:
            self.demand.take(units, now_ns)

    def book(self, held_units: int, used_units: int) -> None:
        """A request is booked: its hold goes, what it used stays. More used than held is a debt."""
        self.held -= held_units
        self.booked += used_units

    def give_back_free(self) -> None:
        """Give back what no request holds, at once: less may be spent than when it was granted."""
        if self.free > 0:
            self._give_back(self.free)

    @property
    def is_spent(self) -> bool:
        """Whether there is nothing in it, and nothing to settle."""
        return self.settled and self.free <= 0 and self.demand.needed == 0

    def is_idle(self, now_ns: int) -> bool:
        """Whether it is spent and has been left alone for so long that it may be closed."""
        return self.is_spent and now_ns - self.demand.last_change_ns > CLOSE_AFTER_NS

    def is_low(self, now_ns: int) -> bool:
        """Whether to ask for more now, before a request has to wait."""
        return not self.closing and self.demand.is_low(self.free, now_ns)

    def statement(self, now_ns: int, *, idle: bool) -> LeaseStatement | None:
        """What there is to report now; None if nothing changed since the last answer. May give back what rests.

        `idle`: no request of the service is open or waiting.
        """
        demand = self.demand
        demand.begin_round(self.held + self.booked - self.refunded, now_ns)
        yields = demand.yields(self.free)
        surplus = self.free if yields else demand.surplus(self.free, now_ns, idle=idle, closing=self.closing)
        if surplus:
            self._give_back(surplus)
        ahead, wanted = (0, 0) if self.closing or yields else demand.wanted(self.free, now_ns)
        statement = LeaseStatement(
            self.lease_id,
            self.service,
            self.service_uid,
            self.kind,
            self.committed,
            self.returned,
            self.held + self.booked - self.committed,
            wanted,
            0 if yields else demand.needed,
            # The last word on a lease comes after the last commit on it.
            self.closing and self.settled,
            self.refunded,
            self.limit_pot,
            demand.burn_units,
        )
        is_hungry = demand.is_hungry(max(0, self.free), ahead, wanted, now_ns)
        if not is_hungry and not demand.recalled and not self.closing and self._is_old_news(statement):
            return None
        demand.stated(now_ns)
        return statement

    def next_look_ns(self, now_ns: int, *, idle: bool) -> int:
        """When time alone may give it something to say, where a look has just found nothing; `idle` as there."""
        look_ns = self.demand.next_look_ns(max(0, self.free), now_ns, idle=idle)
        return min(look_ns, self.demand.last_change_ns + CLOSE_AFTER_NS) if self.is_spent else look_ns

    def answered(self, statement: LeaseStatement, answer: LeaseAnswer, asked_ns: int, now_ns: int) -> None:
        """Take in the answer to a statement."""
        self._last_statement = statement
        got_more = answer.granted_units > self.granted
        self.granted = max(self.granted, answer.granted_units)
        self.available_units = answer.available_units
        self.leased_elsewhere_units = answer.leased_elsewhere_units
        if statement.needed_units:
            # Only who needs some is told; what was said holds as long as that there are none.
            after_ms = answer.accrues_after_ms
            self.returns_ns = asked_ns + after_ms * NS_PER_MS if after_ms is not None else None
        is_nowhere = answer.available_units <= 0 and answer.leased_elsewhere_units == 0 and statement.needed_units > 0
        # A rest that is too small for those who wait may be all that keeps an account from being told to pay.
        is_too_small = answer.empty and 0 < self.free < statement.needed_units
        self.demand.answered(
            lets_go=self.kind is PotKind.MONEY and is_too_small,
            is_empty=answer.empty or (is_nowhere and not got_more),
            got_more=got_more,
            recalling=answer.recalling,
            asked_ns=asked_ns,
            now_ns=now_ns,
        )
        own_units = max(0, self.granted - statement.returned_units - statement.consumed_units)
        leased_units = own_units + answer.leased_elsewhere_units
        self.demand.learn_room(max(0, self.free), own_units, leased_units, answer.available_units)

    @property
    def settled(self) -> bool:
        """Whether nothing of this lease is held or waits for its commit."""
        return self.held == 0 and self.booked == self.committed

    @property
    def is_acknowledged(self) -> bool:
        """Whether control has acknowledged everything that was consumed and returned."""
        last = self._last_statement
        stated = (self.committed, self.returned, self.refunded)
        return last is not None and (last.consumed_units, last.returned_units, last.refunded_units) == stated

    def _give_back(self, units: int) -> None:
        self.returned += units
        self.demand.returned()

    def _is_old_news(self, statement: LeaseStatement) -> bool:
        """Whether control knows it. That less is wanted is no news: nothing is granted unless it is asked for."""
        last = self._last_statement
        if last is None:
            return False
        wanted_units = min(statement.wanted_units, last.wanted_units)
        return statement == last._replace(wanted_units=wanted_units, burn_units=statement.burn_units)
