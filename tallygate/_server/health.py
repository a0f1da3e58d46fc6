"""gRPC health checking, where all services of a server are well or unwell together."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_Response = health_pb2.HealthCheckResponse


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Answers for "" and for each service name; ends its watches on `close`, so that they do not hold up a shutdown."""

    def __init__(self, service_names: Iterable[str]) -> None:
        self._names = {"", *service_names}
        self._serving = False
        self._closed = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Change the status of all names at once; nothing changes after `close`."""
        if not self._closed:
            self._serving = serving
            self._wake()

    def close(self) -> None:
        """Say NOT_SERVING for good, and end each watch once it has said so."""
        self._serving = False
        self._closed = True
        self._wake()

    async def Check(self, request: Any, context: Any) -> Any:
        """Status of a name; NOT_FOUND for a name that this server does not know."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, f'This server has no service "{request.service}".')
        return _Response(status=self._status(request.service))

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Status of a name, then each change of it."""
        last = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status != last:
                yield _Response(status=status)
                last = status
            if self._closed:
                return
            await changed.wait()

    def _status(self, name: str) -> Any:
        if name not in self._names:
            return _Response.SERVICE_UNKNOWN
        return _Response.SERVING if self._serving else _Response.NOT_SERVING

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
