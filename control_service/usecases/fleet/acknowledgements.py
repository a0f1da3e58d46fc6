"""Acknowledgements of configurations by nodes, written in groups: one transaction for all that came during the last.

An acknowledgement is also a sign of life. One of a version that is written already is written every
`SIGN_OF_LIFE_NS` only.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

import structlog

from control_service.domain.errors import StorageUnavailableError
from control_service.usecases.fleet.activation import Activation
from control_service.usecases.fleet.config_feed import ConfigFeed
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.ports import Database
from tallygate._server.clock import Clock

SIGN_OF_LIFE_NS: Final = 1_500_000_000
"""Minimum interval between two writes of one version for one node: half of the time for which it counts as live.

Streams have a message, and so an acknowledgement, every 0.9 s; a node with work to do exchanges more often than that.
"""

RETRY_S: Final = 0.1
"""Interval between two attempts while the database is unavailable."""

_log = structlog.get_logger(__name__)


class _Written(NamedTuple):
    version: int
    at_ns: int


class Lag(NamedTuple):
    """Versions that a node lacks, and the time since its last acknowledgement was written."""

    versions: int
    age_ns: int


_NEVER: Final = _Written(version=-1, at_ns=0)


class Acknowledgements:
    """Receives acknowledgements, writes them, and completes the activations that the whole fleet has acknowledged."""

    def __init__(self, database: Database, clock: Clock, feed: ConfigFeed, activation: Activation) -> None:
        self._database = database
        self._clock = clock
        self._feed = feed
        self._activation = activation
        # Versions not written yet, and what was written last; by name and epoch of the node.
        self._pending: dict[tuple[str, int], int] = {}
        self._written: dict[tuple[str, int], _Written] = {}
        self._wake = asyncio.Event()

    def receive(self, watcher: Watcher, version: int) -> None:
        """Receives the version that a node acknowledges; one later than the version sent counts as that."""
        node = (watcher.node, watcher.epoch)
        version = min(version, watcher.version_sent)
        written = self._written.get(node, _NEVER)
        if version <= written.version and self._clock.monotonic_ns() - written.at_ns < SIGN_OF_LIFE_NS:
            return
        self._pending[node] = version
        self._wake.set()

    def forget(self, watcher: Watcher) -> None:
        """Forgets what was written for a stream that is over."""
        self._written.pop((watcher.node, watcher.epoch), None)

    def lag(self, version: int, now_ns: int) -> Lag:
        """How far the slowest node with a stream here is behind this version."""
        versions = max((version - written.version for written in self._written.values()), default=0)
        oldest_ns = min((written.at_ns for written in self._written.values()), default=now_ns)
        return Lag(max(0, versions), now_ns - oldest_ns)

    async def run(self) -> None:
        """Writes acknowledgements as they come, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
            except StorageUnavailableError:
                await asyncio.sleep(RETRY_S)
                self._wake.set()
            except Exception:  # noqa: BLE001  # logged; nodes acknowledge again within the second
                _log.exception("acknowledgements_failed")

    async def flush(self) -> None:
        """Writes all pending acknowledgements in one transaction, then completes activations.

        Fences the streams of nodes that have another epoch in the database.

        Raises:
            StorageUnavailableError: what was not written stays pending; activations are left to the sweeper.
        """
        pending, self._pending = self._pending, {}
        if not pending:
            return
        now_us = self._clock.now_us()
        has_news = any(version > self._written.get(node, _NEVER).version for node, version in pending.items())
        try:
            async with self._database.writing() as tx:
                known = await tx.nodes.acknowledge(pending, now_us)
                # A sign of life alone completes nothing: the node held up no activation that it does not hold up still.
                activated = await self._activation.acknowledged(tx) if has_news else []
        except StorageUnavailableError:
            self._pending = pending | self._pending
            raise
        now_ns = self._clock.monotonic_ns()
        self._written.update((node, _Written(version, now_ns)) for node, version in pending.items())
        for name, epoch in sorted(pending.keys() - known):
            self._feed.fence(name, epoch)
        await self._activation.complete(activated)
