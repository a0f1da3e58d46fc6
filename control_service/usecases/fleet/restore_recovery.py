"""Recovery after a database was restored from an older copy: consumption is booked, open leases are closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_service.domain.node import is_plausible, recovered
from control_service.domain.pot import PotKind
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fleet.lease_settlement import Settlement, settle
from control_service.usecases.fleet.lease_statement import LeaseStatement, closing
from control_service.usecases.fleet.node_registration import implausible
from control_service.usecases.fleet.replica_memory import ReplicaMemory
from control_service.usecases.fleet.settlement_effects import apply_effects
from control_service.usecases.idempotent_call import Act, Call, entry_of_change
from control_service.usecases.ports import Database, Transaction
from tallygate._server.clock import Clock

BATCH_SIZE: Final = 1_000
"""Maximum number of leases that one transaction closes."""


@dataclass(frozen=True, slots=True)
class BookedUnits:
    """Units that control had not booked, by account and kind, and the ids of leases on services unknown to control."""

    units: Mapping[tuple[str, PotKind], int]
    unknown_lease_ids: Sequence[str]


class RestoreRecovery:
    """The use case. Both steps may be repeated: totals only grow, and a closed lease stays closed.

    Each step is an entry in the audit log, also when it is repeated: people recover, and it moves money.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: ChangeSignal,
        memory: ReplicaMemory,
        new_id: Callable[[], str],
    ) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._memory = memory
        self._new_id = new_id

    async def book(self, totals: Sequence[LeaseStatement], call: Call) -> BookedUnits:
        """Books the final totals of these leases, and closes them. Raises StorageUnavailableError."""
        async with self._database.writing() as tx:
            settled_below = {node.name: node.settled_below_epoch for node in await tx.nodes.every()}
            # A lease of a settled epoch may be deleted already, and would be booked twice.
            open_totals = [one for one in totals if one.epoch >= settled_below.get(one.node, 0)]
            settlement = await self._close(tx, open_totals)
            await self._write_down(tx, call)
        units: Counter[tuple[str, PotKind]] = Counter()
        for work in settlement.fitting:
            units[work.lease.account, work.lease.kind] += work.spent_units
        works = zip(open_totals, settlement.works, strict=True)
        unknown = [one.statement.lease_id for one, work in works if work is None and one.statement.consumed_units]
        return BookedUnits({key: count for key, count in units.items() if count}, unknown)

    async def finish(self, fenced: Mapping[str, int], call: Call) -> int:
        """Closes the open leases of the fenced epochs, and lets their nodes register again.

        Args:
            fenced: by node, the last epoch that the recovery covers.
            call: who recovers.

        Returns:
            The number of leases closed.

        Raises:
            RefusedError: EPOCH_IMPLAUSIBLE for an epoch far above the known one; nothing is closed then.
            StorageUnavailableError: the database fails; some leases may be closed already.
        """
        async with self._database.reading() as tx:
            known = {node.name: node.epoch for node in await tx.nodes.every()}
        for name, epoch in fenced.items():
            if not is_plausible(known.get(name, 0), epoch):
                raise implausible(name, epoch, known.get(name, 0))
        count = 0
        for node, epoch in fenced.items():
            while closed := await self._close_left(node, epoch):
                count += closed
        async with self._database.writing() as tx:
            for name, epoch in sorted(fenced.items()):
                before = await tx.nodes.lock(name)
                await tx.nodes.save(recovered(before, name, epoch, self._clock.now_us()))
            await self._write_down(tx, call)
        return count

    async def _write_down(self, tx: Transaction, call: Call) -> None:
        act = Act(now_us=self._clock.now_us(), actor=call.source.actor, new_id=self._new_id)
        await tx.audit.add(entry_of_change(call, act))

    async def _close_left(self, node: str, epoch: int) -> int:
        async with self._database.writing() as tx:
            left = await tx.leases.open_below(node, epoch + 1, BATCH_SIZE)
            settlement = await self._close(tx, [closing(named) for named in left])
        return sum(1 for _ in settlement.fitting)

    async def _close(self, tx: Transaction, statements: Sequence[LeaseStatement]) -> Settlement:
        settlement = await settle(tx, statements, self._clock.now_us(), self._memory.elapsed_time)
        await settlement.store(tx)
        if await apply_effects(tx, settlement) or settlement.came_back:
            self._changes.announce(settlement.came_back)
        return settlement
