"""What one node's stream has yet to be told. Levels and not a queue: of a service only the latest matters.

So a node that reads slowly keeps nobody waiting, and what is kept for it is bounded by what it follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from control_service.domain.node import LostNode
from control_service.domain.payers import ServiceConfig
from control_service.usecases.fleet_ports import Recall

SERVICES_PER_UPDATE: Final = 1_000
"""So that no message grows beyond what a receiver takes."""

IDS_PER_UPDATE: Final = 10_000
"""Leases to return something of, and likewise services with something to ask for again; for the same reason."""

LOST_AGAIN_NS: Final = 5_000_000_000
"""How often a node hears of the same lost one."""


@dataclass(frozen=True, slots=True)
class Update:
    """One message to a node. Everything up to `version` that concerns what it follows is in it or was sent before."""

    version: int
    services: tuple[ServiceConfig, ...]
    recalled_lease_ids: tuple[str, ...]
    replenished_service_uids: tuple[str, ...]
    lost_nodes: tuple[LostNode, ...] = ()


class Watcher:
    """One stream of one node and epoch. It ends when it is dismissed, with an error or without."""

    def __init__(self, node: str, epoch: int, version: int) -> None:
        self.node = node
        self.epoch = epoch
        self.version_sent = 0
        self._version = version
        self._told: dict[str, int] = {}
        self._services: dict[str, ServiceConfig] = {}
        self._recalls: dict[str, int] = {}
        self._recalls_due: dict[str, None] = {}
        self._replenished: dict[str, None] = {}
        self._lost: dict[LostNode, int] = {}
        self._lost_due: tuple[LostNode, ...] = ()
        self._dismissed = False
        self._error: Exception | None = None
        self._wake = asyncio.Event()
        self._wake.set()

    @property
    def follows(self) -> Iterable[str]:
        """The names that the node wants to know of."""
        return self._told

    @property
    def follow_count(self) -> int:
        """How many they are."""
        return len(self._told)

    def follow(self, names: Iterable[str]) -> list[str]:
        """Follows these names; returns those that it did not follow before, each once."""
        fresh = [name for name in dict.fromkeys(names) if name not in self._told]
        self._told.update(dict.fromkeys(fresh, -1))
        return fresh

    def unfollow(self, names: Iterable[str]) -> None:
        """Follows these names no longer."""
        for name in names:
            self._told.pop(name, None)
            self._services.pop(name, None)

    def tell(self, config: ServiceConfig) -> None:
        """The configuration of a name, if the node follows it and has not been told of a later one."""
        told = self._told.get(config.name)
        if told is not None and told < config.version:
            self._told[config.name] = config.version
            self._services[config.name] = config
            self._wake.set()

    def reach(self, version: int) -> None:
        """The node has been told of everything up to this version."""
        if version > self._version:
            self._version = version
            self._wake.set()

    def recall(self, recalls: Iterable[Recall]) -> None:
        """Leases of this node to return the free part of; each recall is told once."""
        mine = {recall.lease_id: recall.requested_us for recall in recalls if recall.node == self.node}
        fresh = [lease_id for lease_id, requested_us in mine.items() if self._recalls.get(lease_id) != requested_us]
        self._recalls = mine
        if fresh:
            self._recalls_due.update(dict.fromkeys(fresh))
            self._wake.set()

    def replenish(self, uids: Iterable[str]) -> None:
        """Services with something to ask for again."""
        self._replenished.update(dict.fromkeys(uids))
        if self._replenished:
            self._wake.set()

    def lose(self, lost: Iterable[LostNode], now_ns: int) -> None:
        """Other nodes that are lost; each is told again every few seconds for as long as it is so."""
        others = [one for one in lost if one.name != self.node]
        due = tuple(one for one in others if now_ns - self._lost.get(one, -LOST_AGAIN_NS) >= LOST_AGAIN_NS)
        self._lost = {one: now_ns if one in due else self._lost[one] for one in others}
        if due:
            self._lost_due = due
            self._wake.set()

    def dismiss(self, error: Exception | None = None) -> None:
        """Ends the stream."""
        self._dismissed, self._error = True, error
        self._wake.set()

    async def next(self, heartbeat_s: float) -> Update | None:
        """What there is to say, as soon as there is anything, and a heartbeat when there was nothing for so long.

        None: the stream was dismissed without an error; with one, it is raised.
        """
        try:
            async with asyncio.timeout(heartbeat_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
        if self._error is not None:
            raise self._error
        return None if self._dismissed else self._drain()

    def _drain(self) -> Update:
        names = list(self._services)[:SERVICES_PER_UPDATE]
        services = tuple(self._services.pop(name) for name in names)
        if not self._services:
            self.version_sent = self._version
        recalls, replenished = _take(self._recalls_due), _take(self._replenished)
        update = Update(self.version_sent, services, recalls, replenished, self._lost_due)
        self._lost_due = ()
        if self._services or self._recalls_due or self._replenished:
            self._wake.set()
        return update


def _take(ids: dict[str, None]) -> tuple[str, ...]:
    """The first of these ids, which are then no longer among them."""
    taken = tuple(islice(ids, IDS_PER_UPDATE))
    for one in taken:
        del ids[one]
    return taken
