"""The server of `tallygate envoy`: the protocols by which Envoy asks, on one port, around one middleware."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import grpc

from tallygate.integrations.asgi import MeteringMiddleware
from tallygate.integrations.asgi_types import App, Message
from tallygate.integrations.envoy.servicer import ExternalProcessor
from tallygate.integrations.ratelimit.open_requests import OpenRequests
from tallygate.integrations.ratelimit.servicers import RateLimitServicers

GRACE_S: Final = 30.0
"""Time for which answers go on after the server was told to end."""
_OPTIONS: Final = (
    # A port in use shall be an error.
    ("grpc.so_reuseport", 0),
    # Envoy pings, so that it notices a server that has gone. A server sends away who pings while no call is open.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # An Envoy that has gone without a word is noticed, and what its requests have used is recorded.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class Servicers:
    """All that Envoy may ask of this server."""

    def __init__(self, middleware: MeteringMiddleware) -> None:
        self.middleware = middleware
        self._processor = ExternalProcessor(middleware)
        requests = OpenRequests(middleware.client, new_id=lambda: uuid.uuid4().hex)
        self._limits = RateLimitServicers(requests, middleware.find_service)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds them to a server."""
        self._processor.add_to(server)
        self._limits.add_to(server)

    async def close(self) -> None:
        """Waits for what they have begun, once the server has ended."""
        await self._processor.close()


@asynccontextmanager
async def serving(
    listen: str,
    servicers: Servicers,
    *,
    credentials: grpc.ServerCredentials | None = None,
    add_health: Callable[[grpc.aio.Server], None] = lambda _: None,
    grace_s: float = GRACE_S,
) -> AsyncIterator[int]:
    """Serves while the block runs; gives the port.

    Raises:
        RuntimeError: The address cannot be bound.
    """
    server = grpc.aio.server(options=_OPTIONS)
    servicers.add_to(server)
    add_health(server)
    port = server.add_secure_port(listen, credentials) if credentials else server.add_insecure_port(listen)
    async with _running(servicers.middleware):
        await server.start()
        try:
            yield port
        finally:
            await server.stop(grace_s)
            await servicers.close()


@asynccontextmanager
async def _running(app: App) -> AsyncIterator[None]:
    """Runs the lifespan of an app: it is started before the block, and closed after it."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()

    async def live() -> None:
        await app({"type": "lifespan"}, to_app.get, from_app.put)

    task = asyncio.create_task(live(), name="tallygate lifespan")
    await to_app.put({"type": "lifespan.startup"})
    await from_app.get()
    try:
        yield
    finally:
        await to_app.put({"type": "lifespan.shutdown"})
        await task
