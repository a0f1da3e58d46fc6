"""What decisions send out into the world, and bring back when it is there."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from metering_service.domain.errors import StorageUnavailable
from metering_service.domain.records import RequestRecord
from metering_service.domain.request import Request
from metering_service.usecases.node import Node
from metering_service.usecases.parking import found
from metering_service.usecases.ports import Recorder
from metering_service.usecases.reuse import NewIds, looked_up, name_of
from metering_service.usecases.service_state import ServiceState
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.settle import time_out

RETRY_S = 0.2
LOOK_AGAIN_S = 0.2
GATHER_S = 0.05
"""New ids gather for so long: a query costs the processor more than a decision, however little it asks for."""

T = TypeVar("T")
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

    def __init__(self, line: Line, storage: Recorder, settings: NodeSettings) -> None:
        self._line = line
        self._storage = storage
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: set[tuple[str, str, str]] = set()
        self.new_ids = NewIds(settings.new_ids_max)
        self._looks_up_ids = False
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

    def look_for_reuse(self, service: ServiceState, request: Request) -> None:
        """See Errands."""
        self.new_ids.add(service, request)
        if not self._looks_up_ids:
            self._looks_up_ids = True
            self._run(self._look_up_ids())

    def cancel(self) -> None:
        """Nothing more is looked for."""
        for task in self._tasks:
            task.cancel()

    def _look(self, key: tuple[str, str, str], then: Callable[[Node, list[RequestRecord]], None]) -> None:
        """Look for a request's parts. `key`: the service's uid, the request, and the part that is to end, if any."""
        if key in self._looking:
            return
        self._looking.add(key)
        self._run(self._find(key, then))

    def _run(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_up_ids(self) -> None:
        """One query at a time, until no new id is left."""
        try:
            while self.new_ids:
                await asyncio.sleep(GATHER_S)
                asked = self.new_ids.take()
                if asked:
                    names = [name_of(service, request) for service, request in asked]
                    settled_us = await self._insist(partial(self._storage.first_settled_us, names))
                    assert self.node is not None
                    looked_up(self.node, asked, settled_us)
        finally:
            self._looks_up_ids = False

    async def _insist(self, look: Callable[[], Awaitable[T]], **subject: str) -> T:
        """Look into the database until it answers."""
        while True:
            try:
                return await look()
            except StorageUnavailable as error:
                log.warning("look_up_failed", **subject, problem=str(error))
                await asyncio.sleep(RETRY_S)

    async def _find(self, key: tuple[str, str, str], then: Callable[[Node, list[RequestRecord]], None]) -> None:
        look = partial(self._storage.find_request, *key[:2])
        parts = await self._insist(look, service_uid=key[0], request_id=key[1])
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
