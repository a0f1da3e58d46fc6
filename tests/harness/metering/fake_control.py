"""A control service for nodes under test: its own rules for leases, over pots that a test fills."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from control_service.domain import lease as control_lease
from control_service.domain import pot as control_pot
from control_service.domain.bucket import Bucket
from control_service.domain.lease import Lease
from control_service.domain.lease_round import LeaseRound, StatementWork
from control_service.domain.limit import FOR_EVER, LimitPotKey
from control_service.domain.pot import Pot, PotKey, Quantity, Uncapped
from control_service.domain.rate_pot import RatePot
from control_service.domain.recall import Availability, Shortfall, judge_shortfall
from control_service.domain.slot_return import SlotsOnLease, first_return_us
from control_service.usecases.fleet.elapsed_time import ElapsedTime
from metering_service.domain.api_key import ApiKey, KeyState, ModelMeaning
from metering_service.domain.lease import LeaseAnswer, LeaseStatement
from metering_service.domain.limit import Limit, LimitSet
from metering_service.domain.pot import PotKind
from metering_service.domain.service import ServiceConfig, Status
from tallygate._server.clock import ManualClock

VALID_FOR_NS = 20_000_000_000
RECLAIM_US = 52_000_000
ACCOUNT = "acme"


class Control:
    """Pots and leases, and the services that nodes follow."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.elapsed_time = ElapsedTime(clock)
        self.reachable = True
        self.version = 0
        self.services: dict[str, ServiceConfig] = {}
        self.pots: dict[PotKey, Pot] = {}
        self.leases: dict[str, Lease] = {}
        self.nodes: dict[str, tuple[int, int]] = {}
        """Of each node: its epoch, and when it was heard of last."""
        self.returns_after_us: dict[str, int] = {}
        """Of nodes that are silent: when their slots come back at the earliest."""
        self.closed_below_epoch: dict[str, int] = {}
        self.spent: defaultdict[PotKey, int] = defaultdict(int)
        self.recalls: defaultdict[str, list[str]] = defaultdict(list)
        self.keys: dict[bytes, ApiKey] = {}
        self.models: dict[str, ModelMeaning] = {}
        self.replenished: set[str] = set()
        self.replenished_limit_pots: set[LimitPotKey] = set()
        self.limits = LimitSet(f"accounts/{ACCOUNT}", (), 0)
        """All that the account has; members' pots and later periods' are made by their first leases."""

    # --- what people do ------------------------------------------------------------------------------------------

    def put(self, config: ServiceConfig) -> ServiceConfig:
        """A service came, or changed."""
        self.version += 1
        self.services[config.name] = replace(config, version=self.version)
        return self.services[config.name]

    def put_key(self, shown: str, state: KeyState = KeyState.VALID, **more: Any) -> ApiKey:
        """A key came, or changed: for all services and models unless it is said otherwise."""
        self.version += 1
        sha256 = hashlib.sha256(shown.encode()).digest()
        said = {"name": f"accounts/{ACCOUNT}/keys/{shown}", "uid": f"uid-{shown}", "services": None, "models": None}
        self.keys[sha256] = ApiKey(sha256, state, version=self.version, **(said | more))
        return self.keys[sha256]

    def put_model(self, text: str, model: str = "") -> None:
        """A model's name stands for that model now."""
        self.version += 1
        self.models[text] = ModelMeaning(text, model, self.version)

    def trial(self, config: ServiceConfig, quota_tokens: int) -> None:
        """The service's trial."""
        self.pots[self.key(config.uid, PotKind.TRIAL)] = Quantity(quota_tokens, 0, 0)

    def top_up(self, nanos: int) -> None:
        """Money for the account."""
        key = self.key("", PotKind.MONEY)
        before = self.pots.get(key, Quantity(0, 0, 0))
        assert isinstance(before, Quantity)
        self.pots[key] = replace(before, capacity_units=before.capacity_units + nanos)
        self.replenished.update(config.uid for config in self.services.values())

    def reserve(self, config: ServiceConfig) -> None:
        """The reservations that the service's configuration speaks of, full."""
        for kind, rate in (
            (PotKind.RESERVATION_INPUT, config.reserved_input_tpm),
            (PotKind.RESERVATION_OUTPUT, config.reserved_output_tpm),
        ):
            now_us = self.clock.now_us()
            self.pots[self.key(config.uid, kind)] = Bucket.empty(now_us).rated(rate, added_tokens=rate)

    def budget(
        self,
        limit_uid: str,
        amount_units: int,
        kind: PotKind,
        *,
        member_uid: str = "",
        period_start_us: int = FOR_EVER,
        soft: bool = False,
    ) -> PotKey:
        """A budget's pot of a period, or another amount of one that there is."""
        key = self.limit_key(LimitPotKey(ACCOUNT, limit_uid, member_uid, period_start_us), kind)
        before = self.pots.get(key, Quantity(0, 0, 0))
        self.pots[key] = (Uncapped if soft else Quantity)(amount_units, before.leased_units, before.spent_units)
        assert key.limit is not None
        self.replenished_limit_pots.add(key.limit)
        return key

    def rate(self, rule: Limit) -> PotKey:
        """A rule's pot: a full burst, or what it had under the rule as it was."""
        key = self.limit_key(LimitPotKey(ACCOUNT, rule.uid), PotKind.RATE)
        before = self.pots.get(key)
        if not isinstance(before, RatePot):
            before = RatePot.full(rule.limit_units, rule.period_ms, rule.burst_units, self.clock.now_us())
        pot = before.refilled(self.clock.now_us())
        self.pots[key] = pot.ruled(rule.limit_units, rule.period_ms, rule.burst_units, only_counts=rule.only_counts)
        return key

    def slots(self, rule: Limit) -> PotKey:
        """The slots of a rule, or another number of them."""
        key = self.limit_key(LimitPotKey(ACCOUNT, rule.uid), PotKind.SLOTS)
        before = self.pots.get(key, Quantity(0, 0, 0))
        self.pots[key] = Quantity(rule.limit_units, before.leased_units, before.spent_units)
        assert key.limit is not None
        self.replenished_limit_pots.add(key.limit)
        return key

    def sweep(self) -> None:
        """Take back what lost nodes have on lease, as if another node had settled what they left."""
        now_us = self.clock.now_us()
        for node, (epoch, heard_us) in self.nodes.items():
            if now_us - heard_us > RECLAIM_US:
                self._reclaim(node, epoch + 1)

    def _reclaim(self, node: str, below_epoch: int) -> None:
        self.closed_below_epoch[node] = below_epoch
        mine = (lease for lease in self.leases.values() if lease.node == node and lease.epoch < below_epoch)
        for lease in [lease for lease in mine if not lease.closed]:
            work = StatementWork(control_lease.Statement(lease.lease_id, closing=True), lease, pays=False)
            lease_round = LeaseRound({lease.pot: self._pot(lease.pot)}, self.clock.now_us())
            lease_round.run([work])
            self.leases[lease.lease_id] = work.lease
            self.pots.update(lease_round.pots)

    # --- what nodes do -------------------------------------------------------------------------------------------

    def config(self, name: str) -> ServiceConfig:
        """A service as a node is is_acknowledged of it."""
        return self.services.get(name, ServiceConfig(name, Status.UNKNOWN, version=self.version))

    def key_of(self, sha256: bytes) -> ApiKey:
        """A key as a node is told of it."""
        return self.keys.get(sha256, ApiKey(sha256, KeyState.UNKNOWN, version=self.version))

    def model_of(self, text: str) -> ModelMeaning:
        """A model's name as a node is told of it."""
        return self.models.get(text, ModelMeaning(text, "", self.version))

    def settled(self, node: str, below_epoch: int) -> None:
        """A node has said its last word on all leases of its epochs below this one."""
        if below_epoch > self.closed_below_epoch.get(node, 0):
            self._reclaim(node, below_epoch)

    def exchange(self, node: str, epoch: int, statements: Sequence[LeaseStatement]) -> list[LeaseAnswer]:
        """One exchange, by the control service's own rules."""
        now_us = self.clock.now_us()
        known_epoch, _ = self.nodes.get(node, (0, 0))
        assert epoch >= known_epoch, "fenced"
        self.nodes[node] = (epoch, now_us)
        stated = {said.lease_id: self._work(node, epoch, said, now_us) for said in statements}
        works = [work for work in stated.values() if work is not None]
        keys = {work.before.pot for work in works}
        lease_round = LeaseRound({key: self._pot(key) for key in keys}, now_us)
        lease_round.run(works)
        self.pots.update(lease_round.pots)
        for work in works:
            self.leases[work.lease.lease_id] = work.lease
            self.spent[work.lease.pot] += work.spent_units
        came_back = {key.service_uid for key in lease_round.came_back if key.limit is None}
        self.replenished_limit_pots.update(key.limit for key in lease_round.came_back if key.limit is not None)
        self.replenished.update(
            config.uid for config in self.services.values() if config.uid in came_back or "" in came_back
        )
        return [_refusal(lease_id) if work is None else self._answer(work) for lease_id, work in stated.items()]

    def key(self, uid: str, kind: PotKind) -> PotKey:
        """The pot that a lease is a slice of."""
        return PotKey.of(ACCOUNT, uid, control_pot.PotKind[kind.name])

    def limit_key(self, limit: LimitPotKey, kind: PotKind) -> PotKey:
        """The pot of a limit that a lease is a slice of."""
        return PotKey.of_limit(limit, control_pot.PotKind[kind.name])

    def outstanding(self, key: PotKey) -> int:
        """All that is on lease, or was consumed and not is_acknowledged yet."""
        return sum(lease.outstanding_units for lease in self.leases.values() if lease.pot == key)

    def _work(self, node: str, epoch: int, said: LeaseStatement, now_us: int) -> StatementWork | None:
        """The statement in work; None on a pot of a limit that nobody made."""
        kind = control_pot.PotKind[said.kind.name]
        fresh = Lease(said.lease_id, node, epoch, ACCOUNT, said.service_uid, kind, now_us, now_us)
        limit = _limit_of(said)
        if limit is not None:
            fresh = replace(fresh, service_uid="", limit=limit)
            if fresh.pot not in self.pots and not self._makes(limit):
                return None
        statement = control_lease.Statement(
            said.lease_id,
            said.consumed_units,
            said.returned_units,
            said.held_units,
            said.wanted_units,
            said.needed_units,
            said.closing,
            said.refunded_units,
            said.burn_units,
        )
        lease = self.leases.get(said.lease_id, fresh)
        node_count = self.elapsed_time.count_nodes(lease.pot, node)
        return StatementWork(statement, lease, self._pays(said), node_count=node_count)

    def _makes(self, pot: LimitPotKey) -> bool:
        """Make the pot of a member, or of a period; whether there is such a limit."""
        limit = next((each for each in self.limits.limits if each.uid == pot.limit_uid), None)
        if limit is not None and limit.kind is PotKind.RATE:
            self.rate(limit)
        elif limit is not None and limit.kind is PotKind.SLOTS:
            self.slots(limit)
        elif limit is not None:
            self.budget(
                pot.limit_uid,
                limit.amount_units,
                limit.kind,
                member_uid=pot.member_uid,
                period_start_us=pot.period_start_us,
                soft=limit.only_counts,
            )
        return limit is not None

    def _pays(self, said: LeaseStatement) -> bool:
        if _limit_of(said) is not None:
            return True
        config = self.services[said.service]
        match said.kind:
            case PotKind.MONEY:
                return config.postpaid_pays
            case PotKind.TRIAL:
                return config.trial_pays
            case _:
                return config.reservation_pays

    def _pot(self, key: PotKey) -> Pot:
        pot = self.pots.get(key, Quantity(0, 0, 0))
        return pot.refilled(self.clock.now_us()) if isinstance(pot, (Bucket, RatePot)) else pot

    def _answer(self, work: StatementWork) -> LeaseAnswer:
        lease, pot = work.lease, self.pots[work.lease.pot]
        shortfall = self._shortfall(work)
        for lease_id in shortfall.recalled_lease_ids:
            recalled = self.leases[lease_id]
            self.leases[lease_id] = replace(recalled, recall_requested_us=self.clock.now_us())
            self.recalls[recalled.node].append(lease_id)
        accrues_us = None
        if isinstance(pot, (Bucket, RatePot)) and work.falls_short:
            accrues_us = pot.accrues_after_us(work.statement.needed_units - lease.free_units)
        elif lease.kind is control_pot.PotKind.SLOTS and work.falls_short:
            on_lease = [
                SlotsOnLease(one.outstanding_units, self.returns_after_us.get(one.node))
                for one in self.leases.values()
                if one.pot == lease.pot
            ]
            accrues_us = first_return_us(pot.available_units, on_lease)
        return LeaseAnswer(
            lease.lease_id,
            lease.granted_units,
            shortfall.availability is Availability.EMPTY,
            shortfall.availability is Availability.RECALLING,
            pot.available_units,
            pot.leased_units - lease.outstanding_units,
            None if accrues_us is None else accrues_us // 1_000,
            lease.closed,
        )

    def _shortfall(self, work: StatementWork) -> Shortfall:
        if not work.falls_short:
            return Shortfall(Availability.AVAILABLE)
        if not work.pays:
            return Shortfall(Availability.EMPTY)
        others = [lease for lease in self.leases.values() if lease.pot == work.lease.pot and not lease.closed]
        recallable = [lease for lease in others if self.elapsed_time.is_recallable(lease)]
        return judge_shortfall(work.lease, work.statement.needed_units, recallable)


def _limit_of(said: LeaseStatement) -> LimitPotKey | None:
    """Which pot of a limit a statement is about, where it is about one."""
    pot = said.limit_pot
    return None if pot is None else LimitPotKey(ACCOUNT, pot.limit_uid, pot.member_uid, pot.period_start_us)


def _refusal(lease_id: str) -> LeaseAnswer:
    return LeaseAnswer(
        lease_id,
        granted_units=0,
        empty=True,
        recalling=False,
        available_units=0,
        leased_elsewhere_units=0,
        accrues_after_ms=None,
        closed=True,
    )
