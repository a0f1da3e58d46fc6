"""ExchangeLeases: one transaction over all statements that a node makes on its leases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

import structlog

from control_service.domain.audit_entry import entry_of_refusal
from control_service.domain.backup_detection import Mark
from control_service.domain.bucket import Bucket
from control_service.domain.errors import ControlError, Reason, RefusedError, SupersededError
from control_service.domain.lease import Lease
from control_service.domain.lease_round import StatementWork
from control_service.domain.node import Node
from control_service.domain.pot import Pot
from control_service.domain.rate_pot import RatePot
from control_service.domain.recall import Availability, Shortfall, judge_shortfall
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fault_isolation import FaultIsolation
from control_service.usecases.fleet.lease_settlement import LeaseStatement, Settlement, closing, settle
from control_service.usecases.fleet.node_registration import (
    control_went_backwards,
    fenced,
    metering_went_backwards,
    not_registered,
)
from control_service.usecases.fleet.replica_memory import ReplicaMemory
from control_service.usecases.fleet.settlement_effects import apply_effects
from control_service.usecases.fleet_ports import ExchangePosition
from control_service.usecases.ports import Database, Transaction
from tallygate._access.refusals import RefusedCalls
from tallygate._server.clock import Clock

LEFT_BEHIND_MAX: Final = 1_000
"""Maximum number of leases of former epochs that one exchange closes; the rest waits for the next exchange."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ExchangeRequest:
    """One exchange as a node requests it.

    `answered_number` is the last exchange whose answer the metering database has, `commit_no` the last durable commit,
    both of this epoch. All leases of epochs below `settled_below_epoch` are settled. `refused`: calls that the node has
    refused and not told of yet.
    """

    node: str
    epoch: int
    exchange_number: int
    acknowledged_version: int
    statements: Sequence[LeaseStatement]
    settled_below_epoch: int = 0
    answered_number: int = 0
    commit_no: int = 0
    refused: Sequence[RefusedCalls] = ()

    @property
    def position(self) -> ExchangePosition:
        """The request's position among the exchanges and commits of its epoch."""
        return ExchangePosition(self.exchange_number, self.answered_number, self.commit_no)


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    """The answer to one statement. `available_units` are what the pot could still grant now.

    `accrues_after_us` is the time until a rate has accrued the units needed; None where it never will, or no units are
    needed.
    """

    lease_id: str
    granted_units: int
    availability: Availability
    available_units: int = 0
    leased_elsewhere_units: int = 0
    accrues_after_us: int | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Statements that were taken in, and what follows from them.

    `shortfalls` are by lease id. `news`: whether any status may have changed, so that nodes must be notified.
    """

    statements: Sequence[LeaseStatement]
    settlement: Settlement
    shortfalls: Mapping[str, Shortfall]
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
        try:
            return await self._exchange_together(request)
        except ControlError:
            raise
        except Exception:  # noqa: BLE001  # logged where it fails again; one service must not stop the others
            return await self._exchange_apart(request)

    async def _exchange_together(self, request: ExchangeRequest) -> list[LeaseAnswer]:
        now_us = self._clock.now_us()
        async with self._database.writing() as tx:
            node = await self._admit(tx, request, now_us)
            left = await _left_behind(tx, request, node)
            outcome = await self._take(tx, [*request.statements, *left], now_us)
        return self._answers(outcome)[: len(request.statements)]

    async def _exchange_apart(self, request: ExchangeRequest) -> list[LeaseAnswer]:
        """Takes in each service's and limit's statements in a transaction of its own, after all together failed."""
        now_us = self._clock.now_us()
        async with self._database.writing() as tx:
            await self._admit(tx, request, now_us)
        apart: dict[str, list[LeaseStatement]] = {}
        for one in request.statements:
            apart.setdefault(one.service_uid if one.limit is None else one.limit.limit_uid, []).append(one)
        answers: dict[str, LeaseAnswer] = {}

        async def take(uid: str) -> None:
            async with self._database.writing() as tx:
                node = await tx.nodes.lock(request.node)
                if node is None or (node.epoch, node.exchange_number) != (request.epoch, request.exchange_number):
                    raise _refusal(request, node)
                outcome = await self._take(tx, apart[uid], now_us)
            answers.update((answer.lease_id, answer) for answer in self._answers(outcome))

        await self._isolation.run_each("exchange", apart, take)
        return [answers[lease_id] for one in request.statements if (lease_id := one.statement.lease_id) in answers]

    async def _take(self, tx: Transaction, statements: Sequence[LeaseStatement], now_us: int) -> _Outcome:
        settlement = await settle(tx, statements, now_us, self._memory.elapsed_time)
        await settlement.store(tx)
        shortfalls = await self._judge_shortfalls(tx, settlement)
        return _Outcome(statements, settlement, shortfalls, await apply_effects(tx, settlement))

    def _answers(self, outcome: _Outcome) -> list[LeaseAnswer]:
        """The answers to statements whose transaction is committed; notes shortages, and announces the changes."""
        settlement, shortfalls = outcome.settlement, outcome.shortfalls
        for work in settlement.fitting:
            if work.lease.lease_id in shortfalls:
                left_units = settlement.pots[work.lease.pot].grantable_units
                self._memory.shortages.note(work.lease.pot, work.lease.service_uid, left_units)
        recalled = any(shortfall.recalled_lease_ids for shortfall in shortfalls.values())
        if settlement.came_back or outcome.news or recalled:
            self._changes.announce(settlement.came_back)
        return [
            _answer(one, work, settlement, shortfalls)
            for one, work in zip(outcome.statements, settlement.works, strict=True)
        ]

    async def _admit(self, tx: Transaction, request: ExchangeRequest, now_us: int) -> Node:
        """Renews the node's leases, and writes down what the node has refused.

        Raises:
            RefusedError: the exchange cannot be taken.
            SupersededError: neither can this one, a later one was.
        """
        node = await tx.nodes.renew(request.node, request.epoch, request.position, now_us)
        if node is None:
            raise _refusal(request, await tx.nodes.lock(request.node))
        expected = self._memory.history.expected(self._clock.monotonic_ns())
        if max(request.acknowledged_version, node.acknowledged_version) < expected:
            raise RefusedError(
                Reason.CONFIG_STALE,
                f"Node {request.node} has not acknowledged configuration {expected}; acknowledge it, then exchange.",
                node=request.node,
            )
        writer = f"{request.node}/{request.epoch}"
        await tx.audit.count([entry_of_refusal(calls, writer, request.node) for calls in request.refused])
        return node

    async def _judge_shortfalls(self, tx: Transaction, settlement: Settlement) -> dict[str, Shortfall]:
        """The shortfalls of leases that have less than requests need, by lease id.

        Recalls what other nodes may return for these leases.
        """
        short = [work for work in settlement.fitting if work.pays and work.falls_short]
        if not short:
            return {}
        pots = {work.lease.pot for work in short}
        recallable: dict[object, list[Lease]] = {key: [] for key in pots}
        for lease in await tx.leases.with_free_units(pots):
            if self._memory.elapsed_time.is_recallable(lease):
                recallable[lease.pot].append(lease)
        shortfalls = {
            work.lease.lease_id: judge_shortfall(work.lease, work.statement.needed_units, recallable[work.lease.pot])
            for work in short
        }
        recalled = {
            (work.lease.account, lease_id)
            for work in short
            for lease_id in shortfalls[work.lease.lease_id].recalled_lease_ids
        }
        if recalled:
            await tx.leases.recall(recalled, settlement.now_us)
        for _, lease_id in sorted(recalled):
            self._memory.elapsed_time.note_recall(lease_id, settlement.now_us)
        return shortfalls


async def _left_behind(tx: Transaction, request: ExchangeRequest, node: Node) -> list[LeaseStatement]:
    """Statements that close open leases of epochs that the node has settled.

    These leases were granted, but the node ended before the metering database recorded them. What was consumed on them
    came with stand-ins, and was drawn from them.
    """
    below_epoch = min(request.settled_below_epoch, request.epoch)
    if below_epoch <= node.settled_below_epoch:
        return []
    found = await tx.leases.open_below(request.node, below_epoch, LEFT_BEHIND_MAX)
    if len(found) < LEFT_BEHIND_MAX:
        await tx.nodes.mark_settled(request.node, below_epoch)
    stated_ids = {one.statement.lease_id for one in request.statements}
    return [closing(named) for named in found if named.lease.lease_id not in stated_ids]


def _refusal(request: ExchangeRequest, node: Node | None) -> RefusedError | SupersededError:
    """The error that says why an exchange was not taken."""
    if node is None or request.epoch > node.epoch:
        return not_registered(request.node, request.epoch)
    if request.epoch < node.epoch:
        return fenced(request.node, request.epoch, node.epoch)
    if request.answered_number > node.exchange_number:
        return control_went_backwards(Mark(request.node, request.epoch, request.commit_no, request.answered_number))
    if request.exchange_number > node.exchange_number:
        return metering_went_backwards(node)
    return SupersededError(
        Reason.EXCHANGE_SUPERSEDED,
        f"Exchange {node.exchange_number} of node {node.name} was taken already; say it again with a greater number.",
        node=request.node,
    )


def _answer(
    stated: LeaseStatement, work: StatementWork | None, settlement: Settlement, shortfalls: Mapping[str, Shortfall]
) -> LeaseAnswer:
    if work is None:
        _log.warning(
            "statement_not_taken",
            node=stated.node,
            service=stated.service_name,
            limit=None if stated.limit is None else stated.limit.limit_uid,
            lease=stated.statement.lease_id,
        )
        return LeaseAnswer(stated.statement.lease_id, granted_units=0, availability=Availability.EMPTY, closed=True)
    lease = work.lease
    pot = settlement.pots[lease.pot]
    missing_units = work.statement.needed_units - lease.free_units
    return LeaseAnswer(
        lease_id=lease.lease_id,
        granted_units=lease.granted_units,
        availability=_availability(work, shortfalls),
        available_units=_available_units(pot) if work.pays else 0,
        leased_elsewhere_units=pot.leased_units - lease.outstanding_units,
        accrues_after_us=pot.accrues_after_us(missing_units) if _refills(pot) and work.falls_short else None,
        closed=lease.closed,
    )


def _available_units(pot: Pot) -> int:
    """Units that the pot could still grant; of a rate rule, of which nodes work out what accrues, its debt as well."""
    return pot.available_units if isinstance(pot, RatePot) else pot.grantable_units


def _refills(pot: Pot) -> TypeGuard[Bucket | RatePot]:
    return isinstance(pot, (Bucket, RatePot))


def _availability(work: StatementWork, shortfalls: Mapping[str, Shortfall]) -> Availability:
    shortfall = shortfalls.get(work.lease.lease_id)
    if shortfall is not None:
        return shortfall.availability
    return Availability.EMPTY if work.falls_short else Availability.AVAILABLE
