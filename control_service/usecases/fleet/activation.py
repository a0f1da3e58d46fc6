"""Activation: a service leaves ACTIVATING for good when every live node has acknowledged its activation."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from control_service.domain.actor import SYSTEM
from control_service.domain.errors import StorageUnavailableError
from control_service.domain.event import EventCause, Origin
from control_service.domain.node import acknowledged_by_all
from control_service.domain.service import Service
from control_service.usecases.batches import in_batches
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fault_isolation import FaultIsolation
from control_service.usecases.fleet.node_liveness import NodeLiveness
from control_service.usecases.ports import Database, Transaction
from control_service.usecases.service_status import catch_up, update_status
from tallygate._server.clock import Clock

ServiceKey = tuple[str, str]
"""(account id, service id)."""

BATCH_SIZE: Final = 100
"""Maximum number of activations that one transaction completes."""


class Activation:
    """Completes activations: a batch in one transaction, or each by itself where the batch fails."""

    def __init__(self, database: Database, clock: Clock, changes: ChangeSignal, liveness: NodeLiveness) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._liveness = liveness
        self._isolation = FaultIsolation(clock)

    async def acknowledged(self, tx: Transaction) -> list[ServiceKey]:
        """Services in ACTIVATING whose activation all live nodes have acknowledged."""
        version = await self._acknowledged_version(tx)
        return [] if version is None else await tx.configs.awaiting_fleet(version)

    async def complete(self, keys: Iterable[ServiceKey]) -> None:
        """Completes the activations of these services.

        Raises:
            StorageUnavailableError: the database fails; what was not completed is found again by `acknowledged`.
        """
        for batch in in_batches(sorted(keys), BATCH_SIZE):
            try:
                await self._complete(batch)
            except StorageUnavailableError:
                raise
            except Exception:  # noqa: BLE001  # said in the log where it fails again
                await self._isolation.run_each("activation", batch, lambda key: self._complete([key]))

    async def _acknowledged_version(self, tx: Transaction) -> int | None:
        """The version that all live nodes have acknowledged; None without a live node."""
        return acknowledged_by_all(node for node in await tx.nodes.every() if self._liveness.is_live(node))

    async def _complete(self, keys: Collection[ServiceKey]) -> None:
        now_us = self._clock.now_us()
        async with self._database.writing() as tx:
            version = await self._acknowledged_version(tx)
            if version is None:
                return
            accounts = await tx.batches.lock_accounts({account_id for account_id, _ in keys})
            for account_id, service_id in keys:
                account = accounts[account_id]
                # Read under the account's lock: another process may have completed the activation.
                service = await tx.services.find(account_id, service_id)
                if service is None or not _awaits(service, version):
                    continue
                told = replace(await catch_up(tx, account, service, now_us), fleet_told=True)
                await update_status(tx, account, told, Origin(EventCause.FLEET_ACKNOWLEDGED, SYSTEM, now_us))
        self._changes.announce()


def _awaits(service: Service, version: int) -> bool:
    return not service.fleet_told and service.activation_version is not None and service.activation_version <= version
