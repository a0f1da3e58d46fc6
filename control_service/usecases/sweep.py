"""What time alone brings about: ten times a second, by due time, so that an idle tick costs a few look-ups."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog

from control_service.domain.errors import StorageUnavailableError
from control_service.domain.lease import Statement
from control_service.domain.names import service_name
from control_service.domain.price import next_effective_us
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fleet_latch import awaiting_fleet, latch
from control_service.usecases.fleet_ports import Due, NamedLease
from control_service.usecases.follow_up import follow_up
from control_service.usecases.ports import Database
from control_service.usecases.settlement import Stated, settle
from control_service.usecases.standing import catch_up
from tallygate._server.clock import Clock

TICK_SECONDS = 0.1
BATCH = 100
"""So much of each kind is dealt with in one tick; more waits for the next."""

_log = structlog.get_logger(__name__)


class Sweeper:
    """Any number of processes may sweep one database: each looks again under the lock before it acts."""

    def __init__(self, database: Database, clock: Clock, changes: ChangeSignal) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes

    async def run(self) -> None:
        """Ticks until cancelled."""
        while True:
            try:
                await self.tick()
            except StorageUnavailableError:
                _log.warning("sweeper waits for the database")
            await asyncio.sleep(TICK_SECONDS)

    async def tick(self) -> None:
        """Deals with all that is due: ends of trials and reservations, prices, activations, leases of lost nodes.

        Raises:
            StorageUnavailableError: the database fails; what was not dealt with stays due.
        """
        now_us = self._clock.now_us()
        async with self._database.reading() as tx:
            due = await tx.configs.due(now_us, BATCH)
            activated = await awaiting_fleet(tx, now_us)
            lost_nodes = await tx.leases.lost_nodes(now_us)
        await self._end_terms(due, now_us)
        await self._tell_prices(due, now_us)
        if activated:
            await self._activate(now_us)
        for node in lost_nodes:
            await self._reclaim(node, now_us)

    async def _end_terms(self, due: Due, now_us: int) -> None:
        """Trials and reservations whose time is over."""
        for account_id, service_id in due.services:
            async with self._database.writing() as tx:
                account = await tx.accounts.lock(account_id)
                service = await tx.services.find(account_id, service_id)
                if service is not None:
                    await catch_up(tx, account, service, now_us)
            self._changes.announce()

    async def _tell_prices(self, due: Due, now_us: int) -> None:
        """Prices that take effect: nodes are told, and the next one is awaited."""
        if not due.model_ids:
            return
        async with self._database.writing() as tx:
            await tx.lock_globals()
            for model_id in due.model_ids:
                model = await tx.models.get(model_id)
                version = await tx.next_config_version()
                next_us = next_effective_us(await tx.models.prices([model_id]), now_us)
                await tx.models.save(replace(model, config_version=version, next_due_us=next_us))
        self._changes.announce()

    async def _activate(self, now_us: int) -> None:
        """Services whose activation the whole fleet knows of: here because a node that never knew is live no more."""
        async with self._database.writing() as tx:
            await latch(tx, now_us)
        self._changes.announce()

    async def _reclaim(self, node: str, now_us: int) -> None:
        """Leases of a node that is gone: closed at what is known. Late consumption on them still counts."""
        async with self._database.writing() as tx:
            # The node may have come back a moment ago; from here on it waits.
            await tx.nodes.lock(node)
            lost = await tx.leases.reclaimable(node, now_us, BATCH)
            settlement = await settle(tx, [_closing(named) for named in lost], now_us)
            await settlement.store(tx)
            await follow_up(tx, settlement)
        _log.warning("leases of a lost node taken back", node=node, lease_count=len(lost))
        self._changes.announce(settlement.came_back)


def _closing(named: NamedLease) -> Stated:
    lease = named.lease
    return Stated(
        node=lease.node,
        epoch=lease.epoch,
        service_name=service_name(lease.account, named.service_id),
        service_uid=lease.service_uid,
        kind=lease.kind,
        statement=Statement(lease.lease_id, closing=True),
    )
