"""After a database was restored from an older copy: what nodes had consumed is booked, and what is left is closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_service.domain.budget import BudgetKind
from control_service.domain.node import recovered
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fleet.lease_settlement import Settlement, Stated, closing, settle
from control_service.usecases.fleet.replica_memory import Memory
from control_service.usecases.fleet.settlement_effects import follow_up
from control_service.usecases.ports import Database, Transaction
from tallygate._server.clock import Clock

PART: Final = 1_000
"""So many leases are closed in one transaction."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What control had not known of, in units by account and kind, and leases on services that it does not know."""

    units: Mapping[tuple[str, BudgetKind], int]
    unknown_lease_ids: Sequence[str]


class Recovery:
    """The use case. Everything may be done again: totals only grow, and a closed lease stays closed."""

    def __init__(self, database: Database, clock: Clock, changes: ChangeSignal, memory: Memory) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._memory = memory

    async def book(self, totals: Sequence[Stated]) -> Booked:
        """Takes in the last word on each of these leases. Raises StorageUnavailableError."""
        async with self._database.writing() as tx:
            settled_below = {node.name: node.settled_below_epoch for node in await tx.nodes.every()}
            # What was settled for good may be forgotten since, and would be booked again.
            open_totals = [one for one in totals if one.epoch >= settled_below.get(one.node, 0)]
            settlement = await self._close(tx, open_totals)
        units: Counter[tuple[str, BudgetKind]] = Counter()
        for claim in settlement.fitting:
            units[claim.lease.account, claim.lease.kind] += claim.spent_units
        claims = zip(open_totals, settlement.claims, strict=True)
        unknown = [one.statement.lease_id for one, claim in claims if claim is None and one.statement.consumed_units]
        return Booked({key: count for key, count in units.items() if count}, unknown)

    async def finish(self, fenced: Mapping[str, int]) -> int:
        """Closes what else is open of the fenced epochs, and lets nodes say hello again; how many it closed."""
        count = 0
        for node, epoch in fenced.items():
            while closed := await self._close_left(node, epoch):
                count += closed
        async with self._database.writing() as tx:
            for name, epoch in sorted(fenced.items()):
                known = await tx.nodes.lock(name)
                await tx.nodes.save(recovered(known, name, epoch, self._clock.now_us()))
        return count

    async def _close_left(self, node: str, epoch: int) -> int:
        async with self._database.writing() as tx:
            left = await tx.leases.open_below(node, epoch + 1, PART)
            settlement = await self._close(tx, [closing(named) for named in left])
        return sum(1 for _ in settlement.fitting)

    async def _close(self, tx: Transaction, stated: Sequence[Stated]) -> Settlement:
        settlement = await settle(tx, stated, self._clock.now_us(), self._memory.own_time)
        await settlement.store(tx)
        if await follow_up(tx, settlement) or settlement.came_back:
            self._changes.announce(settlement.came_back)
        return settlement
