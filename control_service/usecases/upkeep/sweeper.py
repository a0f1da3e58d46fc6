"""What time alone brings about: ten times a second, by due time, so that an idle tick costs a few look-ups."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import structlog

from control_service.domain.errors import StorageUnavailableError
from control_service.domain.event import EventCause, Origin
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fault_isolation import OneByOne
from control_service.usecases.fleet.activation import FleetLatch
from control_service.usecases.fleet.node_liveness import Sightings
from control_service.usecases.people.catalogue import tell_prices
from control_service.usecases.ports import Database
from control_service.usecases.service_status import AT_ONCE_US, SYSTEM, catch_up, restand
from control_service.usecases.upkeep.retention import Purge
from tallygate._server.clock import NS_PER_US, US_PER_SECOND, Clock

TICK_S = 0.1
BATCH: Final = 100
"""So much of each kind is dealt with in one tick; more waits for the next."""

SET_BACK_US: Final = US_PER_SECOND
"""A wall clock that lost more than this between two ticks was set back."""

_log = structlog.get_logger(__name__)


class Sweeper:
    """Any number of processes may sweep one database: each looks again under the lock before it acts.

    Whatever is due is dealt with in a transaction of its own, so that nothing that cannot be stops the rest.
    """

    def __init__(
        self, database: Database, clock: Clock, changes: ChangeSignal, sightings: Sightings, latch: FleetLatch
    ) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._sightings = sightings
        self._latch = latch
        self._purge = Purge(database, clock)
        self._ahead_us: int | None = None
        self._one_by_one = OneByOne(clock)

    async def run(self) -> None:
        """Ticks until cancelled."""
        while True:
            try:
                await self.tick()
            except StorageUnavailableError:
                _log.debug("sweeper_waits")
            except Exception:  # noqa: BLE001  # logged; whatever it is, time goes on
                _log.exception("sweeper_failed")
            await asyncio.sleep(TICK_S)

    async def tick(self) -> None:
        """Deals with all that is due: ends of trials and reservations, prices, activations; looks for lost nodes.

        Raises:
            StorageUnavailableError: the database fails; what was not dealt with stays due.
        """
        await self._put_right()
        lost_before = self._sightings.lost
        async with self._database.reading() as tx:
            due = await tx.configs.due(self._clock.now_us(), BATCH)
            self._sightings.look(await tx.nodes.every())
            suspects = self._sightings.suspects()
            self._sightings.convict(suspects, await tx.leases.open_on(suspects) if suspects else ())
            activated = await self._latch.awaiting(tx)
        for lost in self._sightings.lost:
            if lost not in lost_before:
                _log.warning("node_lost", node=lost.name, epoch=lost.epoch)
        await self._one_by_one.each("terms", due.services, self._end_terms)
        await self._one_by_one.each("price", due.model_ids, self._tell_price)
        await self._latch.latch(activated[:BATCH])
        await self._purge.tick()

    async def _put_right(self) -> None:
        """After a start, and when the wall clock was set back: what had ended by a clock ahead may not have ended."""
        ahead_us = self._clock.now_us() - self._clock.monotonic_ns() // NS_PER_US
        if self._ahead_us is None or ahead_us < self._ahead_us - SET_BACK_US:
            async with self._database.writing() as tx:
                count = await tx.configs.put_right(self._clock.now_us(), AT_ONCE_US)
            if count:
                _log.warning("redone_after_clock_ahead", count=count)
        self._ahead_us = ahead_us

    async def _end_terms(self, key: tuple[str, str]) -> None:
        """Trials and reservations of one service whose time is over."""
        account_id, service_id = key
        async with self._database.writing() as tx:
            account = await tx.accounts.lock(account_id)
            service = await tx.services.find(account_id, service_id)
            if service is not None:
                await catch_up(tx, account, service, self._clock.now_us())
        self._changes.announce()

    async def _tell_price(self, model_id: str) -> None:
        """A price that takes effect: nodes are told, and services that it lets run again have their event.

        While more of them wait than fit into a tick, it stays due; else the next one is awaited.
        """
        async with self._database.reading() as tx:
            stopped = await tx.services.priced_again(model_id, self._clock.now_us(), BATCH)
        async with self._database.writing() as tx:
            await tx.lock_globals()
            model = await tx.models.get(model_id)
            told = await tell_prices(tx, model, self._clock.now_us())
            if len(stopped) == BATCH:
                told = replace(told, next_due_us=model.next_due_us)
            await tx.models.save(told)
        self._changes.announce()
        await self._one_by_one.each("priced", stopped, self._run_again)

    async def _run_again(self, key: tuple[str, str]) -> None:
        """A service that was stopped because no price was in force."""
        account_id, service_id = key
        async with self._database.writing() as tx:
            account = await tx.accounts.lock(account_id)
            service = await tx.services.find(account_id, service_id)
            if service is not None:
                now_us = self._clock.now_us()
                service = await catch_up(tx, account, service, now_us)
                await restand(tx, account, service, Origin(EventCause.PRICE_TOOK_EFFECT, SYSTEM, now_us))
