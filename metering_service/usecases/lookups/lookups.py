"""The work that decisions cause outside: subscriptions, lease exchanges, queries; and what comes back."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from functools import partial
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

import structlog

from metering_service.domain.errors import StorageUnavailableError
from metering_service.domain.records import RequestRecord
from metering_service.domain.request import Request
from metering_service.usecases.lookups.id_reuse import QUERY_MAX, NewIds, name_of, take_first_bookings
from metering_service.usecases.lookups.parked import found
from metering_service.usecases.lookups.resume_keys import ResumeKeys
from metering_service.usecases.lookups.silent_requests import SilentRequests
from metering_service.usecases.node import Node
from metering_service.usecases.ports import Recorder, RequestName
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.state.service_state import ServiceState

RETRY_S: Final = 0.2
"""Delay before a query that failed is sent again."""
GATHER_S: Final = 0.05
"""Time for which new ids gather: a query costs the processor more than a decision, however little it asks for."""

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class ControlLinkPort(Protocol):
    """The part of the control link that decisions use."""

    def subscribe(self, service: str) -> None:
        """Follow a service."""

    def unsubscribe(self, service: str) -> None:
        """Follow it no longer."""

    def follow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        """Follow API keys and models."""

    def unfollow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        """Follow them no longer."""

    def exchange(self) -> None:
        """Exchange leases soon."""


class WorkRunner:
    """Carries out work as tasks of their own."""

    def __init__(self, link: ControlLinkPort, storage: Recorder, keys: ResumeKeys, settings: NodeSettings) -> None:
        self._link = link
        self._storage = storage
        self._keys = keys
        self._tasks: set[asyncio.Task[None]] = set()
        self._unknown: dict[RequestName, ServiceState] = {}
        self._silent = SilentRequests()
        self._is_querying = False
        self.new_ids = NewIds(settings.new_ids_max)
        self._is_querying_ids = False
        self.node: Node | None = None

    def subscribe(self, service: str) -> None:
        """Follow a service, by the link to control."""
        self._link.subscribe(service)

    def unsubscribe(self, service: str) -> None:
        """Follow a service no longer."""
        self._link.unsubscribe(service)

    def follow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        """Follow API keys and models, by the link to control."""
        self._link.follow_keys(keys, models)

    def unfollow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        """Follow them no longer."""
        self._link.unfollow_keys(keys, models)

    def exchange(self) -> None:
        """Request an exchange of leases, by the link to control."""
        self._link.exchange()

    def query_request(self, service: ServiceState, request_id: str) -> None:
        """Find a request that this node does not know, then decide on what waits for it."""
        self._unknown[RequestName(service.name, request_id)] = service
        self._start_queries()

    def query_request_later(self, service: ServiceState, request_id: str, delay_ns: int) -> None:
        """Query the database for a request after a delay."""
        asyncio.get_running_loop().call_later(delay_ns / 1e9, self.query_request, service, request_id)

    def query_successor(self, service: ServiceState, request: Request) -> None:
        """Find who went on with a silent request, then book it."""
        self._silent.add(service, request)
        self._start_queries()

    def query_reuse(self, service: ServiceState, request: Request) -> None:
        """Query the database for the id, together with others that are new."""
        self.new_ids.add(service, request)
        if not self._is_querying_ids:
            self._is_querying_ids = True
            self._run(self._query_ids())

    def cancel(self) -> None:
        """Nothing more is looked for."""
        for task in self._tasks:
            task.cancel()

    def _start_queries(self) -> None:
        if not self._is_querying:
            self._is_querying = True
            self._run(self._query_all())

    async def _query_all(self) -> None:
        """One query at a time, with all that came up during the last one, until nothing is left."""
        try:
            while self._unknown or self._silent:
                unknown, silent = dict(islice(self._unknown.items(), QUERY_MAX)), self._silent.take()
                parts = await self._insist(
                    partial(self._storage.find_requests, list(dict.fromkeys((*unknown, *silent))))
                )
                await self._insist(self._keys.read_again)
                for name in unknown:
                    del self._unknown[name]
                self._tell(unknown, parts)
                assert self.node is not None
                self._silent.found(self.node, silent, parts)
        finally:
            self._is_querying = False

    def _tell(
        self, unknown: Mapping[RequestName, ServiceState], parts: Mapping[RequestName, Sequence[RequestRecord]]
    ) -> None:
        assert self.node is not None
        of_service: dict[ServiceState, dict[str, Sequence[RequestRecord]]] = {}
        for name, service in unknown.items():
            of_service.setdefault(service, {})[name.request_id] = parts.get(name, ())
        for service, its_parts in of_service.items():
            found(self.node, service, its_parts)

    def _run(self, errand: Coroutine[Any, Any, None]) -> None:
        # Of no call: what it finds is for many, and it outlives the one that began it.
        task = asyncio.create_task(errand, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _query_ids(self) -> None:
        """One query at a time, until no new id is left."""
        try:
            while self.new_ids:
                await asyncio.sleep(GATHER_S)
                asked = self.new_ids.take()
                if asked:
                    names = [name_of(request) for _, request in asked]
                    booked_us = await self._insist(partial(self._storage.first_booked_us, names))
                    assert self.node is not None
                    take_first_bookings(self.node, asked, booked_us)
        finally:
            self._is_querying_ids = False

    async def _insist(self, query: Callable[[], Awaitable[T]]) -> T:
        """Look into the database until it answers."""
        while True:
            try:
                return await query()
            except StorageUnavailableError as error:
                _log.debug("look_up_failed", problem=str(error))
                await asyncio.sleep(RETRY_S)


async def every(seconds: float, action: Callable[[], Awaitable[None] | None]) -> None:
    """Do something again and again, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        result = action()
        if result is not None:
            await result


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Do all of these until one fails, or this is cancelled; then none of them goes on. Raises what that one did."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
