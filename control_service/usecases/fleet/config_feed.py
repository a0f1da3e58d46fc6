"""The configuration feed: keeps the streams of all nodes up to date.

One loop polls the database: at once when something changed in this process, and when the pulse, taken every `POLL_S`,
tells that another process changed something. Changes go to the watchers, where they wait until each stream has sent
them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Final

import structlog

from control_service.domain.api_key_seal import ApiKeySeal
from control_service.domain.errors import InvalidRequestError, StorageUnavailableError
from control_service.domain.names import service_name
from control_service.domain.payers import Resolution, ServiceConfig
from control_service.domain.pot import PotKey
from control_service.usecases.batches import in_batches
from control_service.usecases.change_signal import ChangeSignal, Listener
from control_service.usecases.fleet.api_key_feed import ApiKeyFeed
from control_service.usecases.fleet.config_lookup import is_default_name, lookup_configs
from control_service.usecases.fleet.credential_feed import CredentialFeed, OnUse, nobody_is_told
from control_service.usecases.fleet.credential_lookup import Shown
from control_service.usecases.fleet.limit_feed import LimitFeed
from control_service.usecases.fleet.model_feed import ModelFeed
from control_service.usecases.fleet.node_registration import fenced
from control_service.usecases.fleet.replica_memory import ReplicaMemory
from control_service.usecases.fleet.shortages import query_grantable
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.fleet_ports import Changes
from control_service.usecases.ports import Database
from control_service.usecases.pulse import Pulse
from control_service.usecases.pulse_ports import Glance
from control_service.usecases.resolve_credential import Credentials
from tallygate._server.clock import Clock

POLL_S = 0.1
"""Interval between two looks at what other processes changed."""

READ_TIMEOUT_NS: Final = 3_000_000_000
"""Timeout after which a replica that cannot read the database drops all streams, so that nodes move to one that can."""

FOLLOWED_MAX: Final = 1_000_000
"""Maximum number of names that one stream follows."""

_log = structlog.get_logger(__name__)


class ConfigFeed:
    """All open streams of this process."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changes: ChangeSignal,
        memory: ReplicaMemory,
        credentials: Credentials,
        *,
        pulse: Pulse,
        on_use: OnUse = nobody_is_told,
    ) -> None:
        """`on_use` is told of the credentials that nodes follow, each once a day."""
        self._database = database
        self._clock = clock
        self._changes = changes
        self._memory = memory
        self._credentials = CredentialFeed(database, clock, credentials, on_use)
        self._limits = LimitFeed(database, clock)
        seal = credentials.seal
        self._api_keys = ApiKeyFeed(database, clock, self._limits, None if seal is None else ApiKeySeal(seal))
        self._models = ModelFeed(database)
        self._watchers: dict[str, Watcher] = {}
        # The last configuration of each followed name; None until its first lookup.
        self._latest: dict[str, ServiceConfig | None] = {}
        # Followed names to look up with the next change of anything: those without a configuration, and unknown names
        # of default services, which exist as soon as their account and model do. A new custom service is a change.
        self._unresolved: set[str] = set()
        self._pulse = pulse
        self._version = 0
        # The glance after which recalls were read last.
        self._polled: Glance | None = None
        # Whether the next turn may leave out its poll: not after one that failed, nor with a stream that is new.
        self._may_rest = False
        self._timer: asyncio.TimerHandle | None = None
        self._commit_count = changes.commit_count
        self._read_ns = clock.monotonic_ns()

    def open(self, node: str, epoch: int) -> Watcher:
        """A watcher for a new stream of this node. The node's former stream is dismissed.

        Raises:
            RefusedError: NODE_FENCED, where a newer epoch of the node has a stream here.
        """
        known = self._watchers.get(node)
        if known is not None and known.epoch > epoch:
            raise fenced(node, epoch, known.epoch)
        if known is not None:
            known.dismiss(fenced(node, known.epoch, epoch) if known.epoch < epoch else None)
        watcher = self._watchers[node] = Watcher(node, epoch, self._version)
        self._may_rest = False
        return watcher

    def close(self, watcher: Watcher) -> None:
        """Forgets a watcher whose stream is over, and the names that nobody else follows."""
        if self._watchers.get(watcher.node) is watcher:
            del self._watchers[watcher.node]
        self._forget_unfollowed(watcher.follows)
        self._limits.forget_unfollowed(watcher.limits.subjects, self._watchers.values())
        self._credentials.forget_unfollowed(watcher.credentials.keys, self._watchers.values())
        self._api_keys.forget_unfollowed(watcher.api_keys.keys, self._watchers.values())
        self._models.forget_unfollowed(watcher.models.keys, self._watchers.values())

    @property
    def stream_count(self) -> int:
        """Number of nodes that have a stream here."""
        return len(self._watchers)

    def fence(self, node: str, epoch: int) -> None:
        """Ends the stream of an epoch that a newer one has replaced, in this process or another."""
        watcher = self._watchers.get(node)
        if watcher is not None and watcher.epoch == epoch:
            watcher.dismiss(fenced(node, epoch))

    def close_all(self) -> None:
        """Ends all streams, without an error, before the process stops."""
        for watcher in self._watchers.values():
            watcher.dismiss()

    async def subscribe(self, watcher: Watcher, names: Collection[str]) -> None:
        """Notifies the watcher of these names' configurations, and of every change to them from now on.

        Raises:
            InvalidRequestError: the stream would follow too many names.
            StorageUnavailableError: the database fails.
        """
        if watcher.follow_count + len(names) > FOLLOWED_MAX:
            raise InvalidRequestError([("subscription.subscribe", f"a stream follows at most {FOLLOWED_MAX} names")])
        fresh = watcher.follow(names)
        # Known to `poll` before their lookup, so that no change is lost between the lookup and the next poll.
        for name in fresh:
            if name not in self._latest:
                self._latest[name] = None
                self._unresolved.add(name)
        for batch in in_batches(fresh):
            async with self._database.reading() as tx:
                version = await tx.config_version()
            configs = await self._lookup(batch, version)
            if self._watchers.get(watcher.node) is watcher:
                await self._notify(configs, [watcher], version)

    def unsubscribe(self, watcher: Watcher, names: Collection[str]) -> None:
        """Stops notifying the watcher of these names."""
        watcher.unfollow(names)
        self._limits.forget_unfollowed(watcher.limits.release(names), self._watchers.values())
        self._forget_unfollowed(names)

    async def subscribe_credentials(self, watcher: Watcher, shown: Collection[Shown]) -> None:
        """Notifies the watcher of what these credentials open, and of every change to it from now on.

        Raises:
            InvalidRequestError: the stream would follow too many credentials.
            StorageUnavailableError: the database fails.
        """
        await self._credentials.subscribe(watcher, shown)

    def unsubscribe_credentials(self, watcher: Watcher, shown: Collection[Shown]) -> None:
        """Stops notifying the watcher of these credentials."""
        self._credentials.unsubscribe(watcher, shown, self._watchers.values())

    async def subscribe_keys(self, watcher: Watcher, hashes: Collection[bytes], models: Collection[str]) -> None:
        """Notifies the watcher of what these API keys open and what these models' names mean, and of every change.

        Raises:
            InvalidRequestError: the stream would follow too many of either.
            StorageUnavailableError: the database fails.
        """
        await self._models.subscribe(watcher, models)
        await self._api_keys.subscribe(watcher, hashes)

    def unsubscribe_keys(self, watcher: Watcher, hashes: Collection[bytes], models: Collection[str]) -> None:
        """Stops notifying the watcher of these."""
        self._models.unsubscribe(watcher, models, self._watchers.values())
        self._api_keys.unsubscribe(watcher, hashes, self._watchers.values())
        self._limits.forget_unfollowed(watcher.limits.release(hashes), self._watchers.values())

    async def run(self) -> None:
        """Polls at every change in this process, and of others as soon as the pulse tells, until cancelled."""
        with self._changes.listening() as listener:
            while True:
                try:
                    await self.turn(await self._wait(listener))
                except StorageUnavailableError:
                    _log.debug("config_feed_waits")
                    self.drop_streams()
                    await asyncio.sleep(POLL_S)
                except Exception:  # noqa: BLE001  # logged; nodes must go on receiving what can be read
                    _log.exception("config_feed_failed")
                    await asyncio.sleep(POLL_S)

    async def _wait(self, listener: Listener) -> frozenset[PotKey] | None:
        """Waits for a commit of this process, or for anything else that a turn must look into.

        Returns:
            The pots that got something back in this process; None where it has committed nothing.
        """
        self._rest(listener)
        try:
            came_back = await listener.wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()
        before, self._commit_count = self._commit_count, self._changes.commit_count
        return came_back if self._commit_count != before else None

    def _rest(self, listener: Listener) -> None:
        self._timer = asyncio.get_running_loop().call_later(POLL_S, self._look_up, listener)

    def _look_up(self, listener: Listener) -> None:
        """Rests on, without a task to run for it, or wakes the loop; also where what is asked here fails."""
        is_at_rest = False
        try:
            is_at_rest = self._is_at_rest()
        finally:
            if is_at_rest:
                self._rest(listener)
            else:
                listener.wake()

    def _is_at_rest(self) -> bool:
        """Whether a turn would find nothing to do: without a query, so that rest costs next to nothing."""
        waits = self._memory.shortages.pots or self._memory.liveness.lost or self._limits.is_due
        return self._may_rest and not waits and self._pulse.is_quiet()

    def drop_streams(self) -> None:
        """Ends all streams if this process has not read the database for `READ_TIMEOUT_NS`: another replica may."""
        if self._clock.monotonic_ns() - self._read_ns >= READ_TIMEOUT_NS:
            for watcher in self._watchers.values():
                watcher.dismiss(StorageUnavailableError())

    async def turn(self, came_back: Collection[PotKey] | None) -> None:
        """Polls if anything may have changed, and does what time alone brings about.

        Args:
            came_back: pots to which this process brought something back; None where it has committed nothing.

        Raises:
            StorageUnavailableError: the database fails; the next turn polls.
        """
        self._may_rest, may_rest = True, self._may_rest and came_back is None
        try:
            glance = await self._pulse.look() if may_rest else None
            if glance is None or self._has_news(glance):
                await self.poll(came_back or ())
            else:
                self._limits.push_due(self._watchers.values())
                self._pass_time()
        except BaseException:
            self._may_rest = False
            raise
        self._polled = glance

    def _has_news(self, glance: Glance) -> bool:
        """Whether there is anything to poll for, by a glance at the database."""
        has_new_recalls = glance.last_recall_us is not None and glance is not self._polled
        return glance.config_version != self._version or has_new_recalls or bool(self._memory.shortages.pots)

    async def poll(self, came_back: Collection[PotKey] = ()) -> None:
        """Reads the database once, and notifies watchers of changes, recalls, ended shortages and lost nodes.

        Args:
            came_back: pots to which this process brought something back since the last poll.

        Raises:
            StorageUnavailableError: the database fails; the next poll finds the same changes.
        """
        short = self._memory.shortages.pots
        async with self._database.reading() as tx:
            version = await tx.config_version()
            is_new = version != self._version
            has_names = bool(self._latest) or not self._models.is_idle
            has_proofs = not (self._credentials.is_idle and self._api_keys.is_idle)
            changes = await tx.configs.changes(self._version) if is_new and has_names else None
            access = await tx.access_versions.since(self._version) if is_new and has_proofs else None
            keys = await tx.api_keys.changed(self._version) if is_new and not self._api_keys.is_idle else ()
            renamed = await self._models.affected(tx, changes.model_ids) if changes is not None else ()
            limits = await tx.limits.changed(self._version) if is_new and not self._limits.is_idle else None
            recalls = await tx.leases.recalled(self._watchers) if self._watchers else []
            grantable = await query_grantable(tx, short, self._clock.now_us()) if short else {}
        # Before all else: what was revoked shall open nothing any more.
        if access is not None:
            await self._credentials.push(access, version, self._watchers.values())
            await self._api_keys.push(keys, access.members, version, self._watchers.values())
        if limits is not None:
            await self._limits.push(limits, version, self._watchers.values())
        self._limits.push_due(self._watchers.values())
        await self._models.push(renamed, version, self._watchers.values())
        for batch in in_batches(self._affected(changes) if changes is not None else ()):
            await self._notify(await self._lookup(batch, version), list(self._watchers.values()), version)
        self._version = version
        replenished = self._memory.shortages.ended(came_back, grantable)
        for recall in recalls:
            self._memory.elapsed_time.note_recall(recall.lease_id, recall.requested_us)
        for watcher in list(self._watchers.values()):
            watcher.recall(recalls)
            watcher.replenish(replenished.service_uids, replenished.limit_pots)
        self._pass_time()

    def _pass_time(self) -> None:
        """Notes that the database was read just now, and notifies watchers of lost nodes and of the version."""
        self._credentials.note_uses()
        now_ns = self._read_ns = self._clock.monotonic_ns()
        self._memory.history.observe(self._version, now_ns)
        self._memory.elapsed_time.forget()
        for watcher in list(self._watchers.values()):
            watcher.report_lost(self._memory.liveness.lost, now_ns)
            watcher.advance(self._version)

    async def _lookup(self, names: list[str], version: int) -> list[ServiceConfig]:
        """The configurations of these names as of this version or a later one.

        A name whose rows cannot be read is logged and left out, so that it does not stop the others.

        Raises:
            StorageUnavailableError: the database fails.
        """
        try:
            async with self._database.reading() as tx:
                return await lookup_configs(tx, names, version=version, now_us=self._clock.now_us())
        except StorageUnavailableError:
            raise
        except Exception:  # noqa: BLE001  # logged by each, if it is only one
            if len(names) == 1:
                self._unresolved.update(names)
                _log.exception("config_unreadable", name=names[0])
                return []
        return [config for name in names for config in await self._lookup([name], version)]

    def _affected(self, changes: Changes) -> list[str]:
        """Followed names to look up again: changed ones, those with a changed model, and those that may exist now.

        They have an order, so that a simulation has one story.
        """
        affected = {name for key in changes.services if (name := service_name(*key)) in self._latest}
        affected |= self._unresolved
        if changes.model_ids:
            affected.update(
                name
                for name, config in self._latest.items()
                if config is not None and config.terms is not None and config.terms.model_id in changes.model_ids
            )
        return sorted(affected)

    async def _notify(self, configs: Collection[ServiceConfig], watchers: Collection[Watcher], version: int) -> None:
        """Notifies watchers of configurations, of the limits that they need before. Raises StorageUnavailableError."""
        ready = await self._limits.precede(configs, watchers, version)
        waiting = {config.name for config in configs} - {config.name for config in ready}
        self._unresolved |= waiting & self._latest.keys()
        for config in ready:
            if config.name in self._latest:
                self._latest[config.name] = config
                if config.resolution is not Resolution.UNKNOWN or not is_default_name(config.name):
                    self._unresolved.discard(config.name)
            for watcher in watchers:
                watcher.notify(config)

    def _forget_unfollowed(self, names: Iterable[str]) -> None:
        for name in names:
            if not any(name in watcher.follows for watcher in self._watchers.values()):
                self._latest.pop(name, None)
                self._unresolved.discard(name)
