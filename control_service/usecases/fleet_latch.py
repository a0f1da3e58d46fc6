"""ACTIVATING ends, once and for all, when every live node has acknowledged the activation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from control_service.domain.event import EventCause, Origin
from control_service.domain.node import acknowledged_by_all
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.one_by_one import OneByOne
from control_service.usecases.ports import Database, Transaction
from control_service.usecases.sightings import Sightings
from control_service.usecases.standing import SYSTEM, catch_up, restand
from tallygate._server.clock import Clock

ServiceKey = tuple[str, str]


class FleetLatch:
    """Ends activations, each in a transaction of its own."""

    def __init__(self, database: Database, clock: Clock, changes: ChangeSignal, sightings: Sightings) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._sightings = sightings
        self._one_by_one = OneByOne(clock)

    async def awaiting(self, tx: Transaction) -> list[ServiceKey]:
        """Services, as (account id, service id), whose activation all live nodes have acknowledged."""
        version = acknowledged_by_all(node for node in await tx.nodes.every() if self._sightings.is_live(node))
        return [] if version is None else await tx.configs.awaiting_fleet(version)

    async def latch(self, keys: Iterable[ServiceKey]) -> None:
        """Ends the activations of these.

        Raises:
            StorageUnavailableError: the database fails; what was not latched still awaits it.
        """
        await self._one_by_one.each("activation", keys, self._latch)

    async def _latch(self, key: ServiceKey) -> None:
        account_id, service_id = key
        now_us = self._clock.now_us()
        async with self._database.writing() as tx:
            if key not in await self.awaiting(tx):
                return
            account = await tx.accounts.lock(account_id)
            # Found under the account's lock: another process may have been here first.
            service = await tx.services.find(account_id, service_id)
            if service is None or service.fleet_told:
                return
            told = replace(await catch_up(tx, account, service, now_us), fleet_told=True)
            await restand(tx, account, told, Origin(EventCause.FLEET_ACKNOWLEDGED, SYSTEM, now_us))
        self._changes.announce()
