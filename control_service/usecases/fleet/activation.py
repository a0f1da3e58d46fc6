"""ACTIVATING ends, once and for all, when every live node has acknowledged the activation."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from control_service.domain.errors import StorageUnavailableError
from control_service.domain.event import EventCause, Origin
from control_service.domain.node import acknowledged_by_all
from control_service.domain.service import Service
from control_service.usecases.batches import in_parts
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fault_isolation import OneByOne
from control_service.usecases.fleet.node_liveness import Sightings
from control_service.usecases.ports import Database, Transaction
from control_service.usecases.service_status import SYSTEM, catch_up, restand
from tallygate._server.clock import Clock

ServiceKey = tuple[str, str]


PART: Final = 100
"""So many activations end in one transaction."""


class FleetLatch:
    """Ends activations: many in one transaction, or each by itself where that fails."""

    def __init__(self, database: Database, clock: Clock, changes: ChangeSignal, sightings: Sightings) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._sightings = sightings
        self._one_by_one = OneByOne(clock)

    async def awaiting(self, tx: Transaction) -> list[ServiceKey]:
        """Services, as (account id, service id), whose activation all live nodes have acknowledged."""
        version = await self._acknowledged(tx)
        return [] if version is None else await tx.configs.awaiting_fleet(version)

    async def latch(self, keys: Iterable[ServiceKey]) -> None:
        """Ends the activations of these.

        Raises:
            StorageUnavailableError: the database fails; what was not latched still awaits it.
        """
        for part in in_parts(sorted(keys), PART):
            try:
                await self._latch(part)
            except StorageUnavailableError:
                raise
            except Exception:  # noqa: BLE001  # said in the log where it fails again
                await self._one_by_one.each("activation", part, lambda key: self._latch([key]))

    async def _acknowledged(self, tx: Transaction) -> int | None:
        """The version that all live nodes have acknowledged."""
        return acknowledged_by_all(node for node in await tx.nodes.every() if self._sightings.is_live(node))

    async def _latch(self, keys: Collection[ServiceKey]) -> None:
        now_us = self._clock.now_us()
        async with self._database.writing() as tx:
            version = await self._acknowledged(tx)
            if version is None:
                return
            accounts = await tx.books.lock_accounts({account_id for account_id, _ in keys})
            for account_id, service_id in keys:
                account = accounts[account_id]
                # Found under the account's lock: another process may have been here first.
                service = await tx.services.find(account_id, service_id)
                if service is None or not _awaits(service, version):
                    continue
                told = replace(await catch_up(tx, account, service, now_us), fleet_told=True)
                await restand(tx, account, told, Origin(EventCause.FLEET_ACKNOWLEDGED, SYSTEM, now_us))
        self._changes.announce()


def _awaits(service: Service, version: int) -> bool:
    return not service.fleet_told and service.activation_version is not None and service.activation_version <= version
