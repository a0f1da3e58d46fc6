"""The pots of limits that this node has leases on: one lease of each, shared by all services of the account."""

from collections.abc import Iterable, Iterator
from typing import Final

from typing_extensions import override

from metering_service.domain.funding import UNKNOWN, Offer
from metering_service.domain.lease import Lease
from metering_service.domain.lease_demand import WANTED_MAX
from metering_service.domain.limit import Limit
from metering_service.domain.pot import BUDGETS, LimitPotKey, PotKind
from metering_service.domain.service import account_of
from metering_service.usecases.state.lease_holder import LeaseHolder, LeaseIndex

CHARGED_MAX: Final = 50_000
"""Maximum number of pairs of service and stamp, or key, for which it is remembered which pots are charged."""


class PotState(LeaseHolder):
    """One pot of a limit: what is on lease of it, and which services wait for more."""

    __slots__ = ("_needs", "account", "key", "reserves")

    def __init__(self, account: str, key: LimitPotKey, index: LeaseIndex) -> None:
        super().__init__(f"{account}/pots/{'/'.join(map(str, key))}", index)
        self.account = account
        self.key = key
        self._needs: dict[str, int] = {}
        self.reserves: dict[str, int] = {}
        """Units that suffice for each service that is in use and goes on in an outage of the control service."""

    @property
    @override
    def is_at_rest(self) -> bool:
        return not self._needs and not any(lease.held for lease in self.leases.values())

    @property
    @override
    def is_waited_for(self) -> bool:
        return bool(self._needs)

    def is_over(self, limit: Limit | None) -> bool:
        """Whether nothing is left to know of it: periods and members come and go. `limit`: its own, if it is there."""
        del limit
        return self.is_at_rest and not self.has_leases

    @override
    def new_lease(self, lease_id: str, kind: PotKind) -> Lease:
        return Lease(lease_id, self.account, "", kind, self.key)

    @property
    def mine(self) -> Lease:
        """The lease on the pot, to do something with it."""
        lease = self.leases.get(self.key.kind)
        if lease is None:
            return self.lease(self.key.kind)
        self._index.moved[self.name] = self
        return lease

    def offer(self, now_ns: int, *, usable: bool) -> Offer:
        """What is at hand, and whether it is confirmed that there is no more."""
        lease = self.leases.get(self.key.kind)
        return lease.offer(now_ns) if lease is not None and usable else UNKNOWN

    def need(self, service: str, units: int, full_units: int) -> None:
        """One more request of a service waits for this many units; a grant of full size takes `full_units`."""
        demand = self.mine.demand
        self._needs[service] = self._needs.get(service, 0) + units
        demand.needed = min(WANTED_MAX, sum(self._needs.values()))
        demand.full_units = max(demand.full_units, full_units)

    def forget_needs(self, service: str) -> None:
        """Forget what requests of a service needed; those that still wait say so again."""
        if self._needs.pop(service, None) is None:
            return
        lease = self.leases.get(self.key.kind)
        if lease is not None:
            lease.demand.forget_needs()
            lease.demand.needed = min(WANTED_MAX, sum(self._needs.values()))


def pot_state(index: LeaseIndex, account: str, key: LimitPotKey) -> PotState:
    """The pot of that key; a new one, without a lease, if there is none."""
    pot = index.pots.get((account, key))
    if pot is None:
        pot = PotState(account, key, index)
        index.enter_pot(pot)
    return pot


def pots_of(index: LeaseIndex, service: str, keys: tuple[LimitPotKey, ...]) -> tuple[PotState, ...]:
    """The pots of budgets that a request of this service is charged to; for all requests with these keys the same."""
    pots = index.budgets.get((service, keys))
    if pots is None:
        account = account_of(service)
        pots = tuple(pot_state(index, account, key) for key in budget_pots(keys))
        if len(index.budgets) >= CHARGED_MAX:
            index.budgets.clear()
        index.budgets[service, keys] = pots
    return pots


def budget_pots(keys: Iterable[LimitPotKey]) -> Iterator[LimitPotKey]:
    """Those of budgets: what a request takes of them is held, and booked with it."""
    return (key for key in keys if key.kind in BUDGETS)


def lasting_pots(keys: Iterable[LimitPotKey]) -> Iterator[LimitPotKey]:
    """Those whose leases last until all requests on record that are charged to them are booked: slots as well."""
    return (key for key in keys if key.kind in BUDGETS or key.kind is PotKind.SLOTS)


def units_of(kind: PotKind, tokens: int, money_nanos: int) -> int:
    """What a pot of this kind counts."""
    return money_nanos if kind is PotKind.BUDGET_MONEY else tokens
