"""What has leases on this node: a service, on the pots that pay for it; or a limit's pot, for all services at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from metering_service.domain.lease import Lease
from metering_service.domain.pot import LimitPotKey, PotKind

if TYPE_CHECKING:
    from metering_service.usecases.state.pot_state import PotState
    from metering_service.usecases.state.rule_state import ChargedRules


class LeaseHolder:
    """Leases at work, one of each kind, and those that are closed and not settled yet."""

    __slots__ = ("_index", "draining", "leases", "name", "next_look_ns")

    def __init__(self, name: str, index: LeaseIndex) -> None:
        """`name`: no other holder has it. `index`: where it enters itself when something happens to its leases."""
        self.name = name
        self._index = index
        self.leases: dict[PotKind, Lease] = {}
        self.draining: list[Lease] = []
        self.next_look_ns = 0
        """Before that, time alone gives its leases nothing to say."""

    @property
    def lease_uid(self) -> str:
        """Unique id of the service that its leases are for; empty for those of a limit's pot."""
        return ""

    @property
    def is_at_rest(self) -> bool:
        """Whether no request holds or waits for anything here."""
        raise NotImplementedError

    @property
    def is_waited_for(self) -> bool:
        """Whether a request waits for something here."""
        raise NotImplementedError

    def new_lease(self, lease_id: str, kind: PotKind) -> Lease:
        """A lease with nothing granted yet."""
        return Lease(lease_id, self.name, self.lease_uid, kind)

    def lease(self, kind: PotKind) -> Lease:
        """The lease on a pot, to do something with it; a new one, with nothing granted yet, if there is none."""
        self._index.moved[self.name] = self
        lease = self.leases.get(kind)
        if lease is None:
            lease = self.leases[kind] = self._index.open(self, kind)
        return lease

    def replace_lease(self, lease: Lease) -> None:
        """The control service has closed this lease: what requests hold of it moves to a new one, as a debt to be met.

        The old lease stays until everything booked on it is committed and told: late consumption still counts.
        """
        lease.closing = True
        self._index.changes += 1
        self._index.moved[self.name] = self
        self.draining.append(lease)
        del self.leases[lease.kind]
        if lease.held:
            successor = self.leases[lease.kind] = self._index.open(self, lease.kind)
            successor.held, lease.held = lease.held, 0

    def forget_lease(self, lease: Lease) -> None:
        """A lease is over: control has closed it, and heard of all that was consumed."""
        if self.leases.get(lease.kind) is lease:
            del self.leases[lease.kind]
        else:
            self.draining.remove(lease)
        self._index.forget(lease)

    @property
    def has_leases(self) -> bool:
        """Whether there is anything to say of leases."""
        return bool(self.leases or self.draining)

    def all_leases(self) -> Iterator[Lease]:
        """Leases at work, and closed ones that are not settled yet."""
        yield from self.leases.values()
        yield from self.draining

    def find_lease(self, lease_id: str) -> Lease | None:
        """That of these leases, if it is one."""
        return next((lease for lease in self.all_leases() if lease.lease_id == lease_id), None)


class LeaseIndex:
    """Finds, by what control calls them, those services and pots that have leases: far fewer than are known.

    All services of a node share one, so that one that is merely known takes nothing for what it may have.
    """

    __slots__ = (
        "_new_id",
        "budgets",
        "by_lease_id",
        "by_uid",
        "changes",
        "holders",
        "moved",
        "pots",
        "recalled",
        "rules",
    )

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self.changes = 0
        """Number of times that a lease came or went, or the rule of one changed."""
        self.holders: dict[str, LeaseHolder] = {}
        """By name: those that have leases, or had some a moment ago."""
        self.moved: dict[str, LeaseHolder] = {}
        """Those with something to say of their leases, or to which something happened since there last was nothing."""
        self.by_lease_id: dict[str, LeaseHolder] = {}
        self.by_uid: dict[str, LeaseHolder] = {}
        """Services by their unique ids."""
        self.pots: dict[tuple[str, LimitPotKey], PotState] = {}
        """Pots of limits, by account and key."""
        self.budgets: dict[tuple[str, tuple[LimitPotKey, ...]], tuple[PotState, ...]] = {}
        """Of these pots, by service, those of budgets among the keys that its requests are stamped with."""
        self.rules: dict[tuple[str, str, str], ChargedRules] = {}
        """Of these pots, those of rules, by service, API key and its team."""
        self.recalled: dict[str, None] = {}
        """Leases, by id, that give back what they have free with the next exchange."""

    def enter_pot(self, pot: PotState) -> None:
        """There is a pot, or another one in its place."""
        self.pots[pot.account, pot.key] = pot
        self._forget_charged()

    def forget_pot(self, pot: PotState) -> None:
        """Of a pot nothing is left to know."""
        self.pots.pop((pot.account, pot.key), None)
        self._forget_charged()

    def _forget_charged(self) -> None:
        """Which pots requests are charged to is to be found out again."""
        self.budgets.clear()
        self.rules.clear()

    def open(self, holder: LeaseHolder, kind: PotKind) -> Lease:
        """A new lease, with nothing granted yet."""
        lease = holder.new_lease(self._new_id(), kind)
        self.changes += 1
        self.holders[holder.name] = self.by_lease_id[lease.lease_id] = holder
        if holder.lease_uid:
            self.by_uid[holder.lease_uid] = holder
        return lease

    def forget(self, lease: Lease) -> None:
        """Nothing more will be said of a lease."""
        self.changes += 1
        del self.by_lease_id[lease.lease_id]

    def forget_holder(self, holder: LeaseHolder) -> None:
        """It has no lease any more."""
        del self.holders[holder.name]
        self.by_uid.pop(holder.lease_uid, None)
