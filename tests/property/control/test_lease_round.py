"""Nodes and control over a lossy network: conservation, no overspend, no loss, whatever is lost, repeated or late."""

import itertools
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control_service.domain.bucket import MICRO_PER_TOKEN, Bucket
from control_service.domain.lease import Lease, Statement, merge_statement
from control_service.domain.lease_round import LeaseRound, StatementWork
from control_service.domain.limit import LimitPotKey
from control_service.domain.pot import Pot, PotKey, PotKind, Quantity, Uncapped
from control_service.domain.recall import judge_shortfall

START_US = 1_700_000_000_000_000
TRIAL = PotKey.of("acme", "uid", PotKind.TRIAL)
RATE = PotKey.of("acme", "uid", PotKind.RESERVATION_OUTPUT)
BUDGET = PotKey.of_limit(LimitPotKey("acme", "budget", "", START_US), PotKind.BUDGET_TOKENS)
OTHER = PotKey.of_limit(LimitPotKey("acme", "budget", "key", START_US), PotKind.BUDGET_TOKENS)
SOFT = PotKey.of_limit(LimitPotKey("acme", "soft"), PotKind.BUDGET_MONEY)
POTS = (TRIAL, RATE, BUDGET, OTHER, SOFT)
CAPPED = (TRIAL, BUDGET, OTHER)
NODES = ("node-a", "node-b", "node-c")
units = st.integers(min_value=0, max_value=60)


@dataclass
class Slice:
    """A lease as its node sees it: three counters, and what requests hold."""

    lease_id: str
    pot: PotKey
    granted: int = 0
    consumed: int = 0
    returned: int = 0
    held: int = 0

    @property
    def free(self) -> int:
        return self.granted - self.consumed - self.returned - self.held


@dataclass
class Node:
    """A node that spends only what it holds and holds only what is free on its leases."""

    name: str
    ids: "itertools.count[int]"
    slices: dict[PotKey, Slice] = field(default_factory=dict)
    closed: list[Slice] = field(default_factory=list)

    def slice(self, pot: PotKey) -> Slice:
        if pot not in self.slices:
            self.slices[pot] = Slice(f"{self.name}-{next(self.ids)}", pot)
        return self.slices[pot]


class Fleet(RuleBasedStateMachine):
    """Three nodes, a trial, a rate, two pots of a budget and a soft one.

    Messages may be lost, answered twice, or delivered late; the budget's amount changes now and then.
    """

    @initialize(
        quota=st.integers(min_value=0, max_value=200),
        rate=st.integers(min_value=1, max_value=100),
        amount=st.integers(min_value=0, max_value=200),
    )
    def begin(self, quota: int, rate: int, amount: int) -> None:
        self.now_us = START_US
        self.rate = rate
        self.capacity = {TRIAL: quota, BUDGET: amount, OTHER: amount, SOFT: amount}
        self.most = dict(self.capacity)
        self.pots: dict[PotKey, Pot] = {
            TRIAL: Quantity(capacity_units=quota, leased_units=0, spent_units=0),
            BUDGET: Quantity(capacity_units=amount, leased_units=0, spent_units=0),
            OTHER: Quantity(capacity_units=amount, leased_units=0, spent_units=0),
            SOFT: Uncapped(capacity_units=amount, leased_units=0, spent_units=0),
            RATE: Bucket.empty(START_US).rated(rate, added_tokens=rate),
        }
        self.leases: dict[str, Lease] = {}
        self.nodes = {name: Node(name, itertools.count()) for name in NODES}
        self.consumed = dict.fromkeys(POTS, 0)
        self.reclaimed = False

    def _exchange(self, node: Node, statements: list[tuple[Slice, Statement]]) -> None:
        pots = {key: pot.refilled(self.now_us) if isinstance(pot, Bucket) else pot for key, pot in self.pots.items()}
        works = [StatementWork(stated, self._lease(node, part), pays=True) for part, stated in statements]
        lease_round = LeaseRound(pots, self.now_us)
        lease_round.run(works)
        self.pots = lease_round.pots
        self.leases.update((work.lease.lease_id, work.lease) for work in works)
        for work in works:
            others = [other for other in self._open(work.lease.pot) if other.free_units > 0]
            for lease_id in judge_shortfall(work.lease, work.statement.needed_units, others).recalled_lease_ids:
                self.leases[lease_id] = replace(self.leases[lease_id], recall_requested_us=self.now_us)

    def _lease(self, node: Node, part: Slice) -> Lease:
        uid = part.pot.service_uid
        fresh = Lease(part.lease_id, node.name, 1, "acme", uid, part.pot.kind, self.now_us, self.now_us)
        fresh = replace(fresh, limit=part.pot.limit)
        return self.leases.get(part.lease_id, fresh)

    def _open(self, key: PotKey) -> list[Lease]:
        return [lease for lease in self.leases.values() if lease.pot == key and not lease.closed]

    @rule(name=st.sampled_from(NODES), wanted=units, needed=units, answers=st.integers(min_value=0, max_value=2))
    def exchange(self, name: str, wanted: int, needed: int, answers: int) -> None:
        """A node exchanges; its request may arrive twice, and its answer may be lost."""
        node = self.nodes[name]
        stated = [
            (
                part := node.slice(pot),
                Statement(part.lease_id, part.consumed, part.returned, part.held, wanted, needed),
            )
            for pot in POTS
        ]
        for _ in range(max(1, answers)):
            self._exchange(node, stated)
        if answers:
            for part, _ in stated:
                self._receive(node, part)

    def _receive(self, node: Node, part: Slice) -> None:
        lease = self.leases[part.lease_id]
        part.granted = max(part.granted, lease.granted_units)
        if lease.closed and node.slices.get(part.pot) is part:
            node.closed.append(node.slices.pop(part.pot))

    @rule(name=st.sampled_from(NODES), pot=st.sampled_from(POTS), amount=units)
    def hold(self, name: str, pot: PotKey, amount: int) -> None:
        """Requests hold what is free."""
        part = self.nodes[name].slice(pot)
        part.held += min(amount, max(0, part.free))

    @rule(name=st.sampled_from(NODES), pot=st.sampled_from(POTS), amount=units, overrun=st.just(0) | units)
    def consume(self, name: str, pot: PotKey, amount: int, overrun: int) -> None:
        """Requests use what they hold, and sometimes more than that."""
        part = self.nodes[name].slice(pot)
        used = min(amount, part.held)
        part.held -= used
        part.consumed += used + overrun
        self.consumed[pot] += used + overrun
        if overrun or self.reclaimed:
            self.reclaimed = True

    @rule(name=st.sampled_from(NODES), pot=st.sampled_from(POTS))
    def give_back(self, name: str, pot: PotKey) -> None:
        """A node returns what is free."""
        part = self.nodes[name].slice(pot)
        part.held, part.returned = 0, part.returned + max(0, part.free + part.held)

    @rule(name=st.sampled_from(NODES), pot=st.sampled_from(POTS))
    def close(self, name: str, pot: PotKey) -> None:
        """A node gives up a lease for good."""
        node = self.nodes[name]
        part = node.slices.pop(pot, None)
        if part is not None:
            stated = Statement(part.lease_id, part.consumed, part.returned, closing=True)
            self._exchange(node, [(part, stated)])

    @rule(name=st.sampled_from(NODES))
    def stale(self, name: str) -> None:
        """An old statement, from before anything was consumed or returned, arrives late."""
        node = self.nodes[name]
        self._exchange(node, [(part, Statement(part.lease_id, held_units=part.held)) for part in node.slices.values()])

    @precondition(lambda self: self.leases)
    @rule(name=st.sampled_from(NODES))
    def reclaim_node(self, name: str) -> None:
        """A node is silent for too long; control closes its leases, and what it still consumes comes late."""
        self.reclaimed = True
        for lease in [lease for lease in self.leases.values() if lease.node == name and not lease.closed]:
            effect = merge_statement(lease, Statement(lease.lease_id, closing=True), self.now_us)
            self.leases[lease.lease_id] = effect.lease
            pot = self.pots[lease.pot]
            self.pots[lease.pot] = pot.settled(spent_units=effect.spent_units, released_units=effect.released_units)

    @rule(amount=st.integers(min_value=0, max_value=200))
    def change_amount(self, amount: int) -> None:
        """The budget's owner says another amount; no count begins again."""
        for key in (BUDGET, OTHER, SOFT):
            pot = self.pots[key]
            assert isinstance(pot, Quantity)
            self.pots[key] = replace(pot, capacity_units=amount)
            self.capacity[key], self.most[key] = amount, max(amount, self.most[key])

    @rule(us=st.integers(min_value=0, max_value=70_000_000))
    def wait(self, us: int) -> None:
        """Time passes."""
        self.now_us += us

    @invariant()
    def conserves(self) -> None:
        """Leased is what leases have outstanding, spent is what was consumed on them."""
        for key, pot in self.pots.items():
            mine = [lease for lease in self.leases.values() if lease.pot == key]
            assert pot.leased_units == sum(lease.outstanding_units for lease in mine)
            assert pot.leased_units >= 0
            assert pot.spent_units == sum(lease.consumed_units for lease in mine) <= self.consumed[key]
        for key, capacity in self.capacity.items():
            pot = self.pots[key]
            assert isinstance(pot, Quantity)
            assert pot.capacity_units == pot.available_units + pot.leased_units + pot.spent_units == capacity
        rate = self.pots[RATE]
        assert isinstance(rate, Bucket)
        assert rate.level_micro + rate.leased_units * MICRO_PER_TOKEN <= self.rate * MICRO_PER_TOKEN

    @invariant()
    def never_overspends(self) -> None:
        """While nodes keep to their leases and none is reclaimed, no more is consumed than there was."""
        if self.reclaimed:
            return
        for key in CAPPED:
            assert self.consumed[key] <= self.most[key]
        consumed = self.consumed[RATE]
        assert consumed * MICRO_PER_TOKEN <= self.rate * MICRO_PER_TOKEN + self.rate * (self.now_us - START_US)

    def teardown(self) -> None:
        """At rest, all that was consumed is spent, and all the rest is available."""
        if not hasattr(self, "nodes"):
            return
        for node in self.nodes.values():
            for part in [*node.slices.values(), *node.closed]:
                stated = Statement(part.lease_id, part.consumed, part.returned, closing=True)
                self._exchange(node, [(part, stated)])
        self.conserves()
        assert all(pot.leased_units == 0 for pot in self.pots.values())
        for key, capacity in self.capacity.items():
            assert self.pots[key].available_units == capacity - self.consumed[key]


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
