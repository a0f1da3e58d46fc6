"""ExchangeLeases: one transaction over all that a node says of its leases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from control_service.domain.bucket import Bucket
from control_service.domain.errors import Reason, RefusedError, SupersededError
from control_service.domain.exchange import Claim
from control_service.domain.lease import Availability, Lease, Standing, stand
from control_service.domain.node import Node
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.config_history import ConfigHistory
from control_service.usecases.follow_up import follow_up
from control_service.usecases.greeting import fenced
from control_service.usecases.ports import Database, Transaction
from control_service.usecases.settlement import Settlement, Stated, settle
from control_service.usecases.shortages import Shortages
from tallygate._server.clock import Clock

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a node says in one exchange."""

    node: str
    epoch: int
    exchange_number: int
    acknowledged_version: int
    stated: Sequence[Stated]


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


class ExchangeLeases:
    """The use case."""

    def __init__(
        self, database: Database, clock: Clock, history: ConfigHistory, changes: ChangeSignal, shortages: Shortages
    ) -> None:
        self._database = database
        self._clock = clock
        self._history = history
        self._changes = changes
        self._shortages = shortages

    async def exchange(self, asked: Asked) -> list[Answer]:
        """Takes in what the node says; answers each statement in order, and renews all its leases.

        Raises:
            RefusedError: NODE_NOT_REGISTERED, NODE_FENCED, CONFIG_STALE.
            SupersededError: a later exchange of this epoch was taken already.
        """
        now_us = self._clock.now_us()
        async with self._database.writing() as tx:
            await self._admit(tx, asked, now_us)
            settlement = await settle(tx, asked.stated, now_us)
            await settlement.store(tx)
            standings = await _shortages(tx, settlement)
            news = await follow_up(tx, settlement)
        self._remember_shortages(settlement, standings)
        recalled = any(standing.recalled_lease_ids for standing in standings.values())
        if settlement.came_back or news or recalled:
            self._changes.announce(settlement.came_back)
        return [
            _answer(one, claim, settlement, standings)
            for one, claim in zip(asked.stated, settlement.claims, strict=True)
        ]

    def _remember_shortages(self, settlement: Settlement, standings: Mapping[str, Standing]) -> None:
        for claim in settlement.fitting:
            if claim.lease.lease_id in standings:
                self._shortages.told(claim.lease.budget, claim.lease.service_uid)

    async def _admit(self, tx: Transaction, asked: Asked, now_us: int) -> None:
        """Renews the node's leases, or says why not."""
        node = await tx.nodes.renew(asked.node, asked.epoch, asked.exchange_number, now_us)
        if node is None:
            raise _refusal(asked, await tx.nodes.lock(asked.node))
        expected = self._history.expected(self._clock.monotonic_ns())
        if max(asked.acknowledged_version, node.acknowledged_version) < expected:
            raise RefusedError(
                Reason.CONFIG_STALE,
                f"Node {asked.node} has not acknowledged configuration {expected}; acknowledge it, then exchange.",
                node=asked.node,
            )


def _refusal(asked: Asked, node: Node | None) -> RefusedError | SupersededError:
    """Why an exchange was not taken."""
    if node is None or asked.epoch > node.epoch:
        return RefusedError(
            Reason.NODE_NOT_REGISTERED,
            f"Epoch {asked.epoch} of node {asked.node} is not known; open WatchConfig and say hello first.",
            node=asked.node,
        )
    if asked.epoch < node.epoch:
        return fenced(asked.node, asked.epoch, node.epoch)
    return SupersededError(
        Reason.EXCHANGE_SUPERSEDED,
        f"Exchange {node.exchange_number} of node {asked.node} was taken already; say it again with a greater number.",
        node=asked.node,
    )


async def _shortages(tx: Transaction, settlement: Settlement) -> dict[str, Standing]:
    """How leases stand that fall short of a need, by their ids; recalls what may come back for them."""
    short = [claim for claim in settlement.fitting if claim.pays and claim.falls_short]
    if not short:
        return {}
    budgets = {claim.lease.budget for claim in short}
    free: dict[object, list[Lease]] = {key: [] for key in budgets}
    for lease in await tx.leases.with_free_part(budgets):
        free[lease.budget].append(lease)
    standings = {
        claim.lease.lease_id: stand(
            claim.lease, claim.statement.needed_units, free[claim.lease.budget], settlement.now_us
        )
        for claim in short
    }
    recalled = {
        (claim.lease.account, lease_id)
        for claim in short
        for lease_id in standings[claim.lease.lease_id].recalled_lease_ids
    }
    if recalled:
        await tx.leases.recall(recalled, settlement.now_us)
    return standings


def _answer(stated: Stated, claim: Claim | None, settlement: Settlement, standings: dict[str, Standing]) -> Answer:
    if claim is None:
        _log.warning(
            "a statement that does not fit was not taken in",
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


def _availability(claim: Claim, standings: dict[str, Standing]) -> Availability:
    standing = standings.get(claim.lease.lease_id)
    if standing is not None:
        return standing.availability
    return Availability.EMPTY if claim.falls_short else Availability.AVAILABLE
