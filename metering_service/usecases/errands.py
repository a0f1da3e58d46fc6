"""What decisions send out into the world, and bring back when it is there."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from metering_service.domain.errors import StorageUnavailable
from metering_service.domain.records import RequestRecord
from metering_service.domain.request import Request
from metering_service.usecases.node import Node
from metering_service.usecases.parking import found
from metering_service.usecases.ports import Recorder
from metering_service.usecases.service_state import ServiceState
from metering_service.usecases.settle import time_out

RETRY_S = 0.2
LOOK_AGAIN_S = 0.2

log = structlog.get_logger()


class Line(Protocol):
    """The part of the control link that decisions use."""

    def subscribe(self, service: str) -> None:
        """Follow a service."""

    def unsubscribe(self, service: str) -> None:
        """Follow it no longer."""

    def exchange(self) -> None:
        """Exchange leases soon."""


class Runner:
    """Carries out errands as tasks of their own."""

    def __init__(self, line: Line, storage: Recorder) -> None:
        self._line = line
        self._storage = storage
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: set[tuple[str, str, str]] = set()
        self.node: Node | None = None

    def subscribe(self, service: str) -> None:
        """See Errands."""
        self._line.subscribe(service)

    def unsubscribe(self, service: str) -> None:
        """See Errands."""
        self._line.unsubscribe(service)

    def exchange(self) -> None:
        """See Errands."""
        self._line.exchange()

    def look_up(self, service: ServiceState, request_id: str) -> None:
        """Find a request that this node does not know, then decide on what waits for it."""
        key = (service.uid, request_id, "")
        self._look(key, lambda node, parts: found(node, service, request_id, parts))

    def look_up_later(self, service: ServiceState, request_id: str) -> None:
        """See Errands."""
        asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self.look_up, service, request_id)

    def look_for_successor(self, service: ServiceState, request: Request) -> None:
        """Find who went on with a silent request, then settle it."""
        key = (service.uid, request.request_id, request.part)
        self._look(key, lambda node, parts: time_out(node, service, request, parts))

    def cancel(self) -> None:
        """Nothing more is looked for."""
        for task in self._tasks:
            task.cancel()

    def _look(self, key: tuple[str, str, str], then: Callable[[Node, list[RequestRecord]], None]) -> None:
        """Look for a request's parts. `key`: the service's uid, the request, and the part that is to end, if any."""
        if key in self._looking:
            return
        self._looking.add(key)
        task = asyncio.create_task(self._find(key, then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find(self, key: tuple[str, str, str], then: Callable[[Node, list[RequestRecord]], None]) -> None:
        parts: list[RequestRecord] | None = None
        while parts is None:
            try:
                parts = await self._storage.find_request(*key[:2])
            except StorageUnavailable as error:
                log.warning("look_up_failed", service_uid=key[0], request_id=key[1], problem=str(error))
                await asyncio.sleep(RETRY_S)
        self._looking.discard(key)
        assert self.node is not None
        then(self.node, parts)


async def every(seconds: float, action: Callable[[], Awaitable[None] | None]) -> None:
    """Do something again and again, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        result = action()
        if result is not None:
            await result
