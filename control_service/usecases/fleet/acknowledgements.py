"""Nodes acknowledge configurations. What gathered while the last were written is written together.

Every message of a node is also a sign of life, but one that says nothing new is written only twice a second.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

import structlog

from control_service.domain.errors import StorageUnavailableError
from control_service.usecases.fleet.activation import FleetLatch
from control_service.usecases.fleet.config_feed import ConfigFeed
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.ports import Database
from tallygate._server.clock import Clock

SIGN_OF_LIFE_NS: Final = 500_000_000
RETRY_S: Final = 0.1

_log = structlog.get_logger(__name__)


class _Written(NamedTuple):
    version: int
    at_ns: int


_NEVER: Final = _Written(version=-1, at_ns=0)


class Acknowledgements:
    """Takes in what nodes acknowledge, writes it, and ends activations that the whole fleet knows of."""

    def __init__(self, database: Database, clock: Clock, feed: ConfigFeed, latch: FleetLatch) -> None:
        self._database = database
        self._clock = clock
        self._feed = feed
        self._latch = latch
        # Both by name and epoch of the node.
        self._pending: dict[tuple[str, int], int] = {}
        self._written: dict[tuple[str, int], _Written] = {}
        self._wake = asyncio.Event()

    def heard(self, watcher: Watcher, version: int) -> None:
        """A node acknowledges a version; never a later one than it was sent."""
        node = (watcher.node, watcher.epoch)
        version = min(version, watcher.version_sent)
        written = self._written.get(node, _NEVER)
        if version <= written.version and self._clock.monotonic_ns() - written.at_ns < SIGN_OF_LIFE_NS:
            return
        self._pending[node] = version
        self._wake.set()

    def forget(self, watcher: Watcher) -> None:
        """The stream is over."""
        self._written.pop((watcher.node, watcher.epoch), None)

    async def run(self) -> None:
        """Writes whenever there is something to write, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
            except StorageUnavailableError:
                _log.warning("acknowledgements_wait")
                await asyncio.sleep(RETRY_S)
                self._wake.set()
            except Exception:  # noqa: BLE001  # logged; nodes acknowledge again within the second
                _log.exception("acknowledgements_failed")

    async def flush(self) -> None:
        """Writes what is pending in one transaction, then ends activations; what came in meanwhile waits for the next.

        Raises:
            StorageUnavailableError: what was not written is pending still; activations are left to the sweeper.
        """
        pending, self._pending = self._pending, {}
        if not pending:
            return
        now_us = self._clock.now_us()
        over = []
        try:
            async with self._database.writing() as tx:
                for (name, epoch), version in sorted(pending.items()):
                    if not await tx.nodes.acknowledge(name, epoch, version, now_us):
                        over.append((name, epoch))
                activated = await self._latch.awaiting(tx)
        except StorageUnavailableError:
            self._pending = pending | self._pending
            raise
        now_ns = self._clock.monotonic_ns()
        self._written.update((node, _Written(version, now_ns)) for node, version in pending.items())
        for name, epoch in over:
            self._feed.fence(name, epoch)
        await self._latch.latch(activated)
