"""The configuration feed: what every node's stream is told, and when.

One loop looks at the database whenever something changed in this process, and ten times a second for what other
processes changed. What it finds goes to the watchers at once and waits there until each has read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Final

import structlog

from control_service.domain.budget import BudgetKey
from control_service.domain.errors import InvalidRequestError, StorageUnavailableError
from control_service.domain.names import service_name
from control_service.domain.payers import Resolution, ServiceConfig
from control_service.usecases.batches import in_parts
from control_service.usecases.change_signal import ChangeSignal, Listener
from control_service.usecases.fleet.config_lookup import is_default_name, resolve
from control_service.usecases.fleet.node_registration import fenced
from control_service.usecases.fleet.replica_memory import Memory
from control_service.usecases.fleet.shortages import look_up
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.fleet_ports import Changes
from control_service.usecases.ports import Database
from tallygate._server.clock import Clock

POLL_S = 0.1
BLIND_AFTER_NS: Final = 3_000_000_000
"""Whoever could not look for so long has nothing to tell, and would only keep nodes from those who have."""

FOLLOWED_MAX: Final = 1_000_000
"""Names that one stream may follow."""

_log = structlog.get_logger(__name__)


class ConfigFeed:
    """All open streams of this process."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: ChangeSignal,
        memory: Memory,
    ) -> None:
        self._database = database
        self._clock = clock
        self._changes = changes
        self._memory = memory
        self._watchers: dict[str, Watcher] = {}
        # None: somebody follows the name, and it is about to be looked up.
        self._latest: dict[str, ServiceConfig | None] = {}
        # Names that are about to be looked up, and those that come into existence with an account or a model. A custom
        # service that is created is among the changes.
        self._unsettled: set[str] = set()
        self._version = 0
        self._looked_ns = clock.monotonic_ns()

    def open(self, node: str, epoch: int) -> Watcher:
        """A watcher for a new stream; it replaces the one that this node had, which ends.

        Raises:
            RefusedError: NODE_FENCED, where a stream of a newer epoch was opened meanwhile.
        """
        known = self._watchers.get(node)
        if known is not None and known.epoch > epoch:
            raise fenced(node, epoch, known.epoch)
        if known is not None:
            known.dismiss(fenced(node, known.epoch, epoch) if known.epoch < epoch else None)
        watcher = self._watchers[node] = Watcher(node, epoch, self._version)
        return watcher

    def close(self, watcher: Watcher) -> None:
        """The stream is over."""
        if self._watchers.get(watcher.node) is watcher:
            del self._watchers[watcher.node]
        self._forget_unfollowed(watcher.follows)

    def fence(self, node: str, epoch: int) -> None:
        """Ends the stream of an epoch that another one has replaced, in whatever process."""
        watcher = self._watchers.get(node)
        if watcher is not None and watcher.epoch == epoch:
            watcher.dismiss(fenced(node, epoch))

    def close_all(self) -> None:
        """Ends all streams: the process is about to stop."""
        for watcher in self._watchers.values():
            watcher.dismiss()

    async def subscribe(self, watcher: Watcher, names: Collection[str]) -> None:
        """Tells the watcher of these names, and of every change to them from now on.

        Raises:
            InvalidRequestError: the stream would follow too many names.
            StorageUnavailableError: the database fails.
        """
        if watcher.follow_count + len(names) > FOLLOWED_MAX:
            raise InvalidRequestError([("subscription.subscribe", f"a stream follows at most {FOLLOWED_MAX} names")])
        fresh = watcher.follow(names)
        # Known to the pump before they are looked up, so that no change falls between the two.
        for name in fresh:
            if name not in self._latest:
                self._latest[name] = None
                self._unsettled.add(name)
        for some in in_parts(fresh):
            async with self._database.reading() as tx:
                version = await tx.config_version()
            configs = await self._resolve(some, version)
            if self._watchers.get(watcher.node) is watcher:
                self._tell(configs, [watcher])

    def unsubscribe(self, watcher: Watcher, names: Collection[str]) -> None:
        """Tells the watcher no more of these names."""
        watcher.unfollow(names)
        self._forget_unfollowed(names)

    async def run(self) -> None:
        """Pumps whenever something changed, and every 100 ms, until cancelled."""
        with self._changes.listening() as listener:
            while True:
                came_back = await _wait(listener)
                try:
                    await self.pump(came_back)
                except StorageUnavailableError:
                    _log.debug("config_feed_waits")
                    self.send_away()
                    await asyncio.sleep(POLL_S)
                except Exception:  # noqa: BLE001  # logged; nodes must go on hearing of what can be told
                    _log.exception("config_feed_failed")
                    await asyncio.sleep(POLL_S)

    def send_away(self) -> None:
        """Ends all streams if this process has not seen the database for long: another replica may."""
        if self._clock.monotonic_ns() - self._looked_ns >= BLIND_AFTER_NS:
            for watcher in self._watchers.values():
                watcher.dismiss(StorageUnavailableError())

    async def pump(self, came_back: Collection[BudgetKey] = ()) -> None:
        """Tells every watcher what it has not been told: changes, recalls, budgets that can give again, lost nodes."""
        short = self._memory.shortages.budgets
        async with self._database.reading() as tx:
            version = await tx.config_version()
            changes = await tx.configs.changes(self._version) if version != self._version and self._latest else None
            recalls = await tx.leases.recalled(self._watchers) if self._watchers else []
            grantable = await look_up(tx, short) if short else {}
        for some in in_parts(self._affected(changes) if changes is not None else ()):
            self._tell(await self._resolve(some, version), self._watchers.values())
        self._version = version
        now_ns = self._looked_ns = self._clock.monotonic_ns()
        self._memory.history.observe(version, now_ns)
        replenished = self._memory.shortages.ended(came_back, grantable)
        for recall in recalls:
            self._memory.own_time.saw_recall(recall.lease_id, recall.requested_us)
        self._memory.own_time.forget()
        for watcher in list(self._watchers.values()):
            watcher.recall(recalls)
            watcher.replenish(replenished)
            watcher.lose(self._memory.sightings.lost, now_ns)
            watcher.reach(version)

    async def _resolve(self, names: list[str], version: int) -> list[ServiceConfig]:
        """What these names are as of this version or a later one; one that cannot be read does not stop the others.

        Raises:
            StorageUnavailableError: the database fails.
        """
        try:
            async with self._database.reading() as tx:
                return await resolve(tx, names, version=version, now_us=self._clock.now_us())
        except StorageUnavailableError:
            raise
        except Exception:  # noqa: BLE001  # logged by each, if it is only one
            if len(names) == 1:
                # Looked up again with the next change of anything.
                self._unsettled.update(names)
                _log.exception("config_unreadable", name=names[0])
                return []
        return [config for name in names for config in await self._resolve([name], version)]

    def _affected(self, changes: Changes) -> list[str]:
        """Followed names to look at again: what changed, whose model changed, and what may have come into existence."""
        affected = {name for key in changes.services if (name := service_name(*key)) in self._latest}
        affected |= self._unsettled
        if changes.model_ids:
            affected.update(
                name
                for name, config in self._latest.items()
                if config is not None and config.terms is not None and config.terms.model_id in changes.model_ids
            )
        return list(affected)

    def _tell(self, configs: Iterable[ServiceConfig], watchers: Collection[Watcher]) -> None:
        for config in configs:
            if config.name in self._latest:
                self._latest[config.name] = config
                if config.resolution is not Resolution.UNKNOWN or not is_default_name(config.name):
                    self._unsettled.discard(config.name)
            for watcher in watchers:
                watcher.tell(config)

    def _forget_unfollowed(self, names: Iterable[str]) -> None:
        for name in names:
            if not any(name in watcher.follows for watcher in self._watchers.values()):
                self._latest.pop(name, None)
                self._unsettled.discard(name)


async def _wait(listener: Listener) -> frozenset[BudgetKey]:
    try:
        async with asyncio.timeout(POLL_S):
            return await listener.wait()
    except TimeoutError:
        return frozenset()
