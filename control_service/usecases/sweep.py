"""What time alone brings about: ten times a second, by due time, so that an idle tick costs a few look-ups."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import TypeVar

import structlog

from control_service.domain.errors import StorageUnavailableError
from control_service.domain.lease import Statement
from control_service.domain.names import service_name
from control_service.usecases.catalogue import tell_prices
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fleet_latch import awaiting_fleet, latch
from control_service.usecases.fleet_ports import NamedLease
from control_service.usecases.follow_up import follow_up
from control_service.usecases.ports import Database
from control_service.usecases.settlement import Stated, settle
from control_service.usecases.standing import catch_up
from tallygate._server.clock import Clock

TICK_SECONDS = 0.1
BATCH = 100
"""So much of each kind is dealt with in one tick; more waits for the next."""

SET_ASIDE_US = 10_000_000
"""What could not be dealt with is tried again after so long."""

Key = TypeVar("Key", bound=Hashable)

_log = structlog.get_logger(__name__)


class Sweeper:
    """Any number of processes may sweep one database: each looks again under the lock before it acts.

    Whatever is due is dealt with in a transaction of its own, so that nothing that cannot be stops the rest.
    """

    def __init__(self, database: Database, clock: Clock, changes: ChangeSignal) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        # What could not be dealt with, and when to try again.
        self._set_aside: dict[Hashable, int] = {}

    async def run(self) -> None:
        """Ticks until cancelled."""
        while True:
            try:
                await self.tick()
            except StorageUnavailableError:
                _log.warning("sweeper waits for the database")
            except Exception:  # noqa: BLE001  # logged; whatever it is, time goes on
                _log.exception("sweeper failed, and goes on with its next tick")
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
        await self._each("terms", due.services, self._end_terms, now_us)
        await self._each("price", due.model_ids, self._tell_price, now_us)
        await self._each("activation", activated[:BATCH], self._activate, now_us)
        await self._each("leases", lost_nodes, self._reclaim, now_us)

    async def _each(
        self, what: str, keys: Iterable[Key], deal_with: Callable[[Key, int], Awaitable[None]], now_us: int
    ) -> None:
        """Deals with each by itself. One that fails is logged, and set aside for a while."""
        for key in keys:
            if self._set_aside.get((what, key), now_us) > now_us:
                continue
            self._set_aside.pop((what, key), None)
            try:
                await deal_with(key, now_us)
            except StorageUnavailableError:
                raise
            except Exception:  # noqa: BLE001  # logged; the others are due all the same
                self._set_aside[what, key] = now_us + SET_ASIDE_US
                _log.exception("sweeper failed at one thing, and goes on with the others", what=what, key=key)

    async def _end_terms(self, key: tuple[str, str], now_us: int) -> None:
        """Trials and reservations of one service whose time is over."""
        account_id, service_id = key
        async with self._database.writing() as tx:
            account = await tx.accounts.lock(account_id)
            service = await tx.services.find(account_id, service_id)
            if service is not None:
                await catch_up(tx, account, service, now_us)
        self._changes.announce()

    async def _tell_price(self, model_id: str, now_us: int) -> None:
        """A price that takes effect: nodes are told, and the next one is awaited."""
        async with self._database.writing() as tx:
            await tx.lock_globals()
            await tx.models.save(await tell_prices(tx, await tx.models.get(model_id), now_us))
        self._changes.announce()

    async def _activate(self, key: tuple[str, str], now_us: int) -> None:
        """A service whose activation the whole fleet knows of: here because a node that never knew is live no more."""
        async with self._database.writing() as tx:
            await latch(tx, now_us, key)
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
