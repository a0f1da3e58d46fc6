"""ExchangeLeases: one transaction over all that a node says of its leases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from control_service.domain.backup_detection import Mark
from control_service.domain.bucket import Bucket
from control_service.domain.errors import ControlError, Reason, RefusedError, SupersededError
from control_service.domain.lease import Availability, Lease, Standing, stand
from control_service.domain.lease_round import Claim
from control_service.domain.node import Node
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fault_isolation import OneByOne
from control_service.usecases.fleet.lease_settlement import Settlement, Stated, closing, settle
from control_service.usecases.fleet.node_registration import (
    control_went_backwards,
    fenced,
    metering_went_backwards,
    not_greeted,
)
from control_service.usecases.fleet.replica_memory import Memory
from control_service.usecases.fleet.settlement_effects import follow_up
from control_service.usecases.fleet_ports import Place
from control_service.usecases.ports import Database, Transaction
from tallygate._server.clock import Clock

LEFT_BEHIND_MAX: Final = 1_000
"""So many leases of former epochs are closed in one exchange; the rest wait for the next."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a node says in one exchange."""

    node: str
    epoch: int
    exchange_number: int
    acknowledged_version: int
    stated: Sequence[Stated]
    settled_below_epoch: int = 0
    answered_number: int = 0
    commit_no: int = 0

    @property
    def place(self) -> Place:
        """Where it stands among this epoch's exchanges and commits."""
        return Place(self.exchange_number, self.answered_number, self.commit_no)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one statement. `available_units`: what could be granted now.

    `accrues_after_us`: when a rate will have the units needed; None: never, or none.
    """

    lease_id: str
    granted_units: int
    availability: Availability
    available_units: int = 0
    leased_elsewhere_units: int = 0
    accrues_after_us: int | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True)
class _Taken:
    """Statements that were taken in, and what came of them. `standings`: of leases that fall short, by their ids."""

    stated: Sequence[Stated]
    settlement: Settlement
    standings: Mapping[str, Standing]
    news: bool


class ExchangeLeases:
    """The use case."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: ChangeSignal,
        memory: Memory,
    ) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._memory = memory
        self._one_by_one = OneByOne(clock)

    async def exchange(self, asked: Asked) -> list[Answer]:
        """Takes in what the node says; answers the statements in order, and renews all its leases.

        Raises:
            RefusedError: NODE_NOT_REGISTERED, NODE_FENCED, CONFIG_STALE, CONTROL_WENT_BACKWARDS,
                METERING_WENT_BACKWARDS.
            SupersededError: a later exchange of this epoch was taken already.
            StorageUnavailableError: the database fails.
        """
        try:
            return await self._together(asked)
        except ControlError:
            raise
        except Exception:  # noqa: BLE001  # said in the log where it fails again; one service must not stop the others
            return await self._apart(asked)

    async def _together(self, asked: Asked) -> list[Answer]:
        now_us = self._clock.now_us()
        async with self._database.writing() as tx:
            node = await self._admit(tx, asked, now_us)
            left = await _left_behind(tx, asked, node)
            taken = await self._take(tx, [*asked.stated, *left], now_us)
        return self._answers(taken)[: len(asked.stated)]

    async def _apart(self, asked: Asked) -> list[Answer]:
        """Each service by itself, after something failed: a statement that cannot be taken in has no answer."""
        now_us = self._clock.now_us()
        async with self._database.writing() as tx:
            await self._admit(tx, asked, now_us)
        of_service: dict[str, list[Stated]] = {}
        for one in asked.stated:
            of_service.setdefault(one.service_uid, []).append(one)
        answers: dict[str, Answer] = {}

        async def take(uid: str) -> None:
            async with self._database.writing() as tx:
                node = await tx.nodes.lock(asked.node)
                if node is None or (node.epoch, node.exchange_number) != (asked.epoch, asked.exchange_number):
                    raise _refusal(asked, node)
                taken = await self._take(tx, of_service[uid], now_us)
            answers.update((answer.lease_id, answer) for answer in self._answers(taken))

        await self._one_by_one.each("exchange", of_service, take)
        return [answers[lease_id] for one in asked.stated if (lease_id := one.statement.lease_id) in answers]

    async def _take(self, tx: Transaction, stated: Sequence[Stated], now_us: int) -> _Taken:
        settlement = await settle(tx, stated, now_us, self._memory.own_time)
        await settlement.store(tx)
        standings = await self._stand(tx, settlement)
        return _Taken(stated, settlement, standings, await follow_up(tx, settlement))

    def _answers(self, taken: _Taken) -> list[Answer]:
        """The answers to what was taken in and is committed; who else must know of it is told."""
        settlement, standings = taken.settlement, taken.standings
        for claim in settlement.fitting:
            if claim.lease.lease_id in standings:
                left_units = settlement.budgets[claim.lease.budget].grantable_units
                self._memory.shortages.told(claim.lease.budget, claim.lease.service_uid, left_units)
        recalled = any(standing.recalled_lease_ids for standing in standings.values())
        if settlement.came_back or taken.news or recalled:
            self._changes.announce(settlement.came_back)
        return [
            _answer(one, claim, settlement, standings)
            for one, claim in zip(taken.stated, settlement.claims, strict=True)
        ]

    async def _admit(self, tx: Transaction, asked: Asked, now_us: int) -> Node:
        """Renews the node's leases, or says why not."""
        node = await tx.nodes.renew(asked.node, asked.epoch, asked.place, now_us)
        if node is None:
            raise _refusal(asked, await tx.nodes.lock(asked.node))
        expected = self._memory.history.expected(self._clock.monotonic_ns())
        if max(asked.acknowledged_version, node.acknowledged_version) < expected:
            raise RefusedError(
                Reason.CONFIG_STALE,
                f"Node {asked.node} has not acknowledged configuration {expected}; acknowledge it, then exchange.",
                node=asked.node,
            )
        return node

    async def _stand(self, tx: Transaction, settlement: Settlement) -> dict[str, Standing]:
        """How leases stand that fall short of a need, by their ids; recalls what may come back for them."""
        short = [claim for claim in settlement.fitting if claim.pays and claim.falls_short]
        if not short:
            return {}
        budgets = {claim.lease.budget for claim in short}
        recallable: dict[object, list[Lease]] = {key: [] for key in budgets}
        for lease in await tx.leases.with_free_part(budgets):
            if self._memory.own_time.is_recallable(lease):
                recallable[lease.budget].append(lease)
        standings = {
            claim.lease.lease_id: stand(claim.lease, claim.statement.needed_units, recallable[claim.lease.budget])
            for claim in short
        }
        recalled = {
            (claim.lease.account, lease_id)
            for claim in short
            for lease_id in standings[claim.lease.lease_id].recalled_lease_ids
        }
        if recalled:
            await tx.leases.recall(recalled, settlement.now_us)
        for _, lease_id in recalled:
            self._memory.own_time.saw_recall(lease_id, settlement.now_us)
        return standings


async def _left_behind(tx: Transaction, asked: Asked, node: Node) -> list[Stated]:
    """What closes the leases of former epochs that the node says are settled, and that are open all the same.

    They were granted, but the node ended before the metering database heard of them, so nothing was consumed on them.
    """
    below_epoch = min(asked.settled_below_epoch, asked.epoch)
    if below_epoch <= node.settled_below_epoch:
        return []
    found = await tx.leases.open_below(asked.node, below_epoch, LEFT_BEHIND_MAX)
    if len(found) < LEFT_BEHIND_MAX:
        await tx.nodes.settled(asked.node, below_epoch)
    spoken_of = {one.statement.lease_id for one in asked.stated}
    return [closing(named) for named in found if named.lease.lease_id not in spoken_of]


def _refusal(asked: Asked, node: Node | None) -> RefusedError | SupersededError:
    """Why an exchange was not taken."""
    if node is None or asked.epoch > node.epoch:
        return not_greeted(asked.node, asked.epoch)
    if asked.epoch < node.epoch:
        return fenced(asked.node, asked.epoch, node.epoch)
    if asked.answered_number > node.exchange_number:
        return control_went_backwards(Mark(asked.node, asked.epoch, asked.commit_no, asked.answered_number))
    if asked.exchange_number > node.exchange_number:
        return metering_went_backwards(node)
    return SupersededError(
        Reason.EXCHANGE_SUPERSEDED,
        f"Exchange {node.exchange_number} of node {asked.node} was taken already; say it again with a greater number.",
        node=asked.node,
    )


def _answer(stated: Stated, claim: Claim | None, settlement: Settlement, standings: Mapping[str, Standing]) -> Answer:
    if claim is None:
        _log.warning(
            "statement_not_taken",
            node=stated.node,
            service=stated.service_name,
            lease=stated.statement.lease_id,
        )
        return Answer(stated.statement.lease_id, granted_units=0, availability=Availability.EMPTY, closed=True)
    lease = claim.lease
    budget = settlement.budgets[lease.budget]
    missing_units = claim.statement.needed_units - lease.free_units
    return Answer(
        lease_id=lease.lease_id,
        granted_units=lease.granted_units,
        availability=_availability(claim, standings),
        available_units=budget.grantable_units if claim.pays else 0,
        leased_elsewhere_units=budget.leased_units - lease.outstanding_units,
        accrues_after_us=budget.accrues_after_us(missing_units)
        if isinstance(budget, Bucket) and claim.falls_short
        else None,
        closed=lease.closed,
    )


def _availability(claim: Claim, standings: Mapping[str, Standing]) -> Availability:
    standing = standings.get(claim.lease.lease_id)
    if standing is not None:
        return standing.availability
    return Availability.EMPTY if claim.falls_short else Availability.AVAILABLE
