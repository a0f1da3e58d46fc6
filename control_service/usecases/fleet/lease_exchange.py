"""ExchangeLeases: one transaction over all statements that a group of nodes makes on its leases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from control_service.domain.errors import ControlError
from control_service.domain.lease import Lease
from control_service.domain.pot import PotKey, PotKind
from control_service.domain.recall import Shortfall, judge_shortfall
from control_service.domain.slot_return import SlotsOnLease, first_return_us
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fault_isolation import FaultIsolation
from control_service.usecases.fleet.exchange_admission import admit, left_behind, refusal
from control_service.usecases.fleet.exchange_answers import answer_of
from control_service.usecases.fleet.exchange_groups import ExchangeGroups, Served
from control_service.usecases.fleet.exchange_messages import ExchangeRequest, LeaseAnswer
from control_service.usecases.fleet.lease_settlement import Settlement, settle
from control_service.usecases.fleet.lease_statement import LeaseStatement
from control_service.usecases.fleet.replica_memory import ReplicaMemory
from control_service.usecases.fleet.settlement_effects import apply_effects
from control_service.usecases.ports import Database, Transaction
from tallygate._server.clock import Clock


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Statements that were taken in, and what follows from them.

    `shortfalls` are by lease id; `recalled_ids` are the leases that are recalled for them. `news`: whether any status
    may have changed, so that nodes must be notified.
    """

    statements: Sequence[LeaseStatement]
    settlement: Settlement
    shortfalls: Mapping[str, Shortfall]
    recalled_ids: Sequence[str]
    news: bool


class ExchangeLeases:
    """The use case: statements are settled, needs are granted, and all leases of the node are renewed."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: ChangeSignal,
        memory: ReplicaMemory,
    ) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._memory = memory
        self._isolation = FaultIsolation(clock)
        self.groups = ExchangeGroups(clock, self._exchange_together, self._exchange_apart)

    async def exchange(self, request: ExchangeRequest) -> list[LeaseAnswer]:
        """Settles the node's statements, grants what it needs and wants, and renews all its leases.

        Returns:
            The answers in the order of the statements. A statement on a service or a limit that failed has none.

        Raises:
            RefusedError: NODE_NOT_REGISTERED, NODE_FENCED, CONFIG_STALE, CONTROL_WENT_BACKWARDS,
                METERING_WENT_BACKWARDS.
            SupersededError: a later exchange of this epoch was taken already.
            StorageUnavailableError: the database fails.
        """
        return await self.groups.exchange(request)

    async def _exchange_together(self, requests: Sequence[ExchangeRequest]) -> Served:
        now_us, expected_version = self._clock.now_us(), self._expected_version
        async with self._database.writing() as tx:
            admission = await admit(tx, requests, expected_version, now_us)
            left = await left_behind(tx, admission)
            stated = [one for request in admission.taken for one in request.statements]
            outcome = await self._take(tx, [*stated, *left], now_us)
        answers = iter(self._answers(outcome))
        return [
            admission.refused.get(request.node) or [next(answers) for _ in request.statements] for request in requests
        ]

    async def _exchange_apart(self, request: ExchangeRequest) -> list[LeaseAnswer]:
        """Takes in each service's and limit's statements in a transaction of its own, after all together failed."""
        now_us, expected_version = self._clock.now_us(), self._expected_version
        async with self._database.writing() as tx:
            admission = await admit(tx, [request], expected_version, now_us)
        if admission.refused:
            raise admission.refused[request.node]
        apart: dict[str, list[LeaseStatement]] = {}
        for one in request.statements:
            apart.setdefault(one.service_uid if one.limit is None else one.limit.limit_uid, []).append(one)
        answers: dict[str, LeaseAnswer] = {}
        # Why the exchange itself is over: no fault of a service or a limit, which must not be set aside for it.
        refusals: list[ControlError] = []

        async def take(uid: str) -> None:
            async with self._database.writing() as tx:
                node = await tx.nodes.lock(request.node)
                if node is None or (node.epoch, node.exchange_number) != (request.epoch, request.exchange_number):
                    refusals.append(refusal(request, node, expected_version))
                    return
                outcome = await self._take(tx, apart[uid], now_us)
            answers.update((answer.lease_id, answer) for answer in self._answers(outcome))

        await self._isolation.run_each("exchange", apart, take)
        if refusals:
            raise refusals[0]
        return [answers[lease_id] for one in request.statements if (lease_id := one.statement.lease_id) in answers]

    @property
    def _expected_version(self) -> int:
        return self._memory.history.expected(self._clock.monotonic_ns())

    async def _take(self, tx: Transaction, statements: Sequence[LeaseStatement], now_us: int) -> _Outcome:
        settlement = await settle(tx, statements, now_us, self._memory.elapsed_time)
        await settlement.store(tx)
        shortfalls = await self._judge_shortfalls(tx, settlement)
        recalled_ids = await _recall(tx, settlement, shortfalls)
        return _Outcome(statements, settlement, shortfalls, recalled_ids, await apply_effects(tx, settlement))

    def _answers(self, outcome: _Outcome) -> list[LeaseAnswer]:
        """The answers to statements whose transaction is committed; notes and announces what has changed."""
        settlement, shortfalls = outcome.settlement, outcome.shortfalls
        for lease_id in outcome.recalled_ids:
            self._memory.elapsed_time.note_recall(lease_id, settlement.now_us)
        if shortfalls:
            for work in settlement.fitting:
                if work.lease.lease_id in shortfalls:
                    left_units = settlement.pots[work.lease.pot].grantable_units
                    self._memory.shortages.note(work.lease.pot, work.lease.service_uid, left_units)
        if settlement.came_back or outcome.news or outcome.recalled_ids:
            self._changes.announce(settlement.came_back)
        return [
            answer_of(one, work, settlement, shortfalls)
            for one, work in zip(outcome.statements, settlement.works, strict=True)
        ]

    async def _judge_shortfalls(self, tx: Transaction, settlement: Settlement) -> dict[str, Shortfall]:
        """The shortfalls of leases that have less than requests need, by lease id."""
        short = [work for work in settlement.fitting if work.pays and work.falls_short]
        if not short:
            return {}
        pots = {work.lease.pot for work in short}
        recallable: dict[object, list[Lease]] = {key: [] for key in pots}
        for lease in await tx.leases.with_free_units(pots):
            if self._memory.elapsed_time.is_recallable(lease):
                recallable[lease.pot].append(lease)
        returns_us = await self._returns_of_slots(tx, settlement, pots)
        return {
            work.lease.lease_id: replace(
                judge_shortfall(work.lease, work.statement.needed_units, recallable[work.lease.pot]),
                returns_after_us=returns_us.get(work.lease.pot),
            )
            for work in short
        }

    async def _returns_of_slots(
        self, tx: Transaction, settlement: Settlement, pots: Collection[PotKey]
    ) -> dict[PotKey, int]:
        """The time until one of these slots is free at the earliest, where that is for a silent node to say."""
        limits = {key.limit: key for key in pots if key.kind is PotKind.SLOTS and key.limit is not None}
        if not limits:
            return {}
        leases = await tx.leases.open_of_limits(limits)
        nodes = await tx.nodes.find({lease.node for lease in leases})
        on_lease: dict[PotKey, list[SlotsOnLease]] = defaultdict(list)
        for lease in leases:
            node = nodes.get(lease.node)
            after_us = None if node is None else self._memory.liveness.returns_after_us(node, lease.epoch)
            on_lease[lease.pot].append(SlotsOnLease(lease.outstanding_units, after_us))
        found = {key: first_return_us(settlement.pots[key].available_units, on_lease[key]) for key in limits.values()}
        return {key: after_us for key, after_us in found.items() if after_us is not None}


async def _recall(tx: Transaction, settlement: Settlement, shortfalls: Mapping[str, Shortfall]) -> list[str]:
    """Recalls what other nodes may return for these leases, each lease once; returns the ids of those recalled."""
    if not shortfalls:
        return []
    recalled = {
        (work.lease.account, lease_id)
        for work in settlement.fitting
        if work.lease.lease_id in shortfalls
        for lease_id in shortfalls[work.lease.lease_id].recalled_lease_ids
    }
    if recalled:
        await tx.leases.recall(sorted(recalled), settlement.now_us)
    return [lease_id for _, lease_id in sorted(recalled)]
