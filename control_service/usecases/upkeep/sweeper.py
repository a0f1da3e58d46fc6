"""The sweeper: applies what time alone brings about, when it is due.

It rests until the first moment at which anything is due, and looks at the nodes' signs of life meanwhile.
"""

from __future__ import annotations

from typing import Final

import structlog

from control_service.domain.actor import SYSTEM
from control_service.domain.errors import StorageUnavailableError
from control_service.domain.event import EventCause, Origin
from control_service.domain.kept_days import USUAL, KeptDays
from control_service.domain.service import Service
from control_service.domain.status import StopReason
from control_service.usecases.budget_thresholds import judge_thresholds
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fault_isolation import FaultIsolation
from control_service.usecases.fleet.activation import Activation
from control_service.usecases.fleet.node_liveness import NodeLiveness
from control_service.usecases.people.catalogue import announce_prices
from control_service.usecases.ports import Database
from control_service.usecases.pulse import Pulse
from control_service.usecases.service_status import AT_ONCE_US, catch_up, update_status
from control_service.usecases.upkeep.ledger_roll_up import LedgerRollUp
from control_service.usecases.upkeep.retention import Purge
from tallygate._server.clock import NS_PER_US, US_PER_SECOND, Clock

TICK_S = 0.1
"""Interval between two ticks while anything is due."""

OBSERVATION_S = 0.5
"""Interval at which the signs of life of all nodes are observed."""

BATCH_SIZE: Final = 100
"""Maximum number of each kind that one tick deals with; the rest waits for the next tick."""

SET_BACK_US: Final = US_PER_SECOND
"""Minimum time that a wall clock must lose to count as set back."""

_log = structlog.get_logger(__name__)


class Sweeper:
    """Deals with what is due. Any number of processes may sweep one database: each checks again under the lock.

    Each due thing has a transaction of its own, so that one that fails does not stop the rest.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: ChangeSignal,
        liveness: NodeLiveness,
        activation: Activation,
        *,
        pulse: Pulse,
        kept: KeptDays = USUAL,
    ) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._liveness = liveness
        self._activation = activation
        self._pulse = pulse
        self._upkeep = Purge(database, clock, kept), LedgerRollUp(database, clock, kept)
        self._ahead_us: int | None = None
        # Services whose models are no longer due, and that are to follow them.
        self._behind: list[tuple[str, str]] = []
        self._isolation = FaultIsolation(clock)

    async def run(self) -> None:
        """Does what is due when it is, until cancelled."""
        while True:
            rest_s = TICK_S
            try:
                rest_s = await self.turn()
            except StorageUnavailableError:
                _log.debug("sweeper_waits")
            except Exception:  # noqa: BLE001  # logged; the next turn must come
                _log.exception("sweeper_failed")
            await self._pulse.wait(rest_s)

    async def turn(self) -> float:
        """Observes the nodes, and ticks if anything is due.

        Returns:
            The seconds until the next turn, if nobody commits anything that is due before.

        Raises:
            StorageUnavailableError: the database fails; what was not dealt with stays due.
        """
        glance = await self._pulse.look()
        self._liveness.observe(glance.nodes)
        is_due = glance.first_due_us is not None and glance.first_due_us <= self._clock.now_us()
        if is_due or glance.awaits_fleet or self._liveness.suspects() or self._must_reschedule() or self._has_upkeep():
            await self.tick()
        elif self._liveness.lost:
            self._liveness.mark_lost((), ())
        # The clock may have been ahead while nothing was due, and calls have ended terms too early by it all the same.
        self._ahead_us = max(self._ahead_us or 0, self._now_ahead_us())
        if is_due:
            return TICK_S
        until_due_us = (glance.first_due_us or self._clock.now_us() + US_PER_SECOND) - self._clock.now_us()
        return min(OBSERVATION_S, max(0, until_due_us) / US_PER_SECOND)

    async def tick(self) -> None:
        """Deals with all that is due: ends of trials, reservations, raises, prices, activations, lost nodes, the purge.

        Raises:
            StorageUnavailableError: the database fails; what was not dealt with stays due.
        """
        await self._reschedule_missed()
        lost_before = self._liveness.lost
        async with self._database.reading() as tx:
            due = await tx.configs.due(self._clock.now_us(), BATCH_SIZE)
            self._liveness.observe(await tx.nodes.every())
            suspects = self._liveness.suspects()
            self._liveness.mark_lost(suspects, await tx.leases.open_on(suspects) if suspects else ())
            activated = await self._activation.acknowledged(tx)
        for lost in self._liveness.lost:
            if lost not in lost_before:
                _log.warning("node_lost", node=lost.name, epoch=lost.epoch)
        await self._follow_models()
        await self._isolation.run_each("terms", due.services, self._end_terms)
        await self._isolation.run_each("price", due.model_ids, self._announce_price)
        await self._isolation.run_each("raise", due.raises, self._end_raise)
        await self._activation.complete(activated[:BATCH_SIZE])
        for one in self._upkeep:
            await one.tick()

    def _has_upkeep(self) -> bool:
        """Whether anything is left of the last tick, or old and to be deleted or added up."""
        return bool(self._behind) or any(one.is_due for one in self._upkeep)

    def _must_reschedule(self) -> bool:
        """Whether this process has just started, or its wall clock was set back since the last tick."""
        return self._ahead_us is None or self._now_ahead_us() < self._ahead_us - SET_BACK_US

    def _now_ahead_us(self) -> int:
        """By how much the wall clock is ahead of the monotonic one."""
        return self._clock.now_us() - self._clock.monotonic_ns() // NS_PER_US

    async def _reschedule_missed(self) -> None:
        """Reschedules, after a start and when the wall clock was set back, what a clock ahead has ended too early."""
        ahead_us = self._now_ahead_us()
        if self._must_reschedule():
            async with self._database.writing() as tx:
                count = await tx.configs.reschedule_missed(self._clock.now_us(), AT_ONCE_US)
            if count:
                _log.warning("redone_after_clock_ahead", count=count)
        self._ahead_us = ahead_us

    async def _end_terms(self, key: tuple[str, str]) -> None:
        """Ends the trials and reservations of one service whose time is over."""
        account_id, service_id = key
        async with self._database.writing() as tx:
            account = await tx.accounts.lock(account_id)
            service = await tx.services.find(account_id, service_id)
            if service is not None:
                await catch_up(tx, account, service, self._clock.now_us())
        self._changes.announce()

    async def _end_raise(self, key: tuple[str, str]) -> None:
        """Tells of the thresholds that a budget has reached by the end of its raise; nodes know of the end already."""
        account_id, budget_id = key
        now_us = self._clock.now_us()
        async with self._database.writing() as tx:
            await tx.accounts.lock(account_id)
            budget = await tx.budgets.find(account_id, budget_id)
            if budget is not None and not budget.deleted and (budget.raised_until_us or 0) <= now_us:
                await judge_thresholds(tx, budget, now_us)
                await tx.budgets.end_raise(budget)

    async def _announce_price(self, model_id: str) -> None:
        """Announces a price that takes effect to nodes, and updates the services whose status is behind their model.

        The model stays due while more services wait than one tick deals with, or where it was changed since they were
        read.
        """
        async with self._database.reading() as tx:
            seen = await tx.models.get(model_id)
            behind = await tx.services.behind_model(model_id, self._clock.now_us(), BATCH_SIZE)
        async with self._database.writing() as tx:
            await tx.lock_globals()
            model, now_us = await tx.models.get(model_id), self._clock.now_us()
            announced = await announce_prices(tx, model, now_us)
            changed = (model.retire_us, model.price_count) != (seen.retire_us, seen.price_count)
            if changed or len(behind) == BATCH_SIZE:
                announced = announced.due_by(now_us)
            await tx.models.save(announced)
        self._changes.announce()
        self._behind += behind
        await self._follow_models()

    async def _follow_models(self) -> None:
        """Updates services that are behind their models; where the database fails the next tick begins with them."""
        await self._isolation.run_each("priced", self._behind, self._follow_model)
        self._behind = []

    async def _follow_model(self, key: tuple[str, str]) -> None:
        """Updates the status of a service whose model has a price again, or was retired or restored."""
        account_id, service_id = key
        async with self._database.writing() as tx:
            account = await tx.accounts.lock(account_id)
            service = await tx.services.find(account_id, service_id)
            if service is not None:
                now_us = self._clock.now_us()
                service = await catch_up(tx, account, service, now_us)
                await update_status(tx, account, service, Origin(_cause(service), SYSTEM, now_us))


def _cause(service: Service) -> EventCause:
    """What of its model the service's stored status is behind."""
    if (StopReason.MODEL_RETIRED in service.told_stop_reasons) is service.model_retired:
        return EventCause.PRICE_TOOK_EFFECT
    return EventCause.MODEL_RETIRED if service.model_retired else EventCause.MODEL_RESTORED
