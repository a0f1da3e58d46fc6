"""gRPC health checking: whether the process lives, and whether each of its services is ready for calls."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typing_extensions import override

_Response = health_pb2.HealthCheckResponse

LIVE: Final = ""
"""The name that tells whether the process lives, whatever it waits for."""
_NAME_SHOWN_MAX: Final = 128


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Answers for `LIVE` and for each other name; ends its watches on `close`, so that they do not hold up a shutdown.

    `LIVE` is SERVING from the beginning until `close`; all other names are NOT_SERVING until they are said to be ready.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._serving = dict.fromkeys(names, False) | {LIVE: True}
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def serving(self) -> Mapping[str, bool]:
        """Whether each name is SERVING."""
        return self._serving

    def set_ready(self, ready: Mapping[str, bool]) -> None:
        """Change the status of these names; nothing changes after `close`."""
        if not self._closed:
            self._serving.update(ready)
            self._wake()

    def close(self) -> None:
        """Say NOT_SERVING for good, and end each watch once it has said so."""
        self._serving = dict.fromkeys(self._serving, False)
        self._closed = True
        self._wake()

    @override
    async def Check(self, request: Any, context: Any) -> Any:
        """Status of a name; NOT_FOUND for a name that this server does not know."""
        if request.service not in self._serving:
            name = request.service[:_NAME_SHOWN_MAX]
            await context.abort(grpc.StatusCode.NOT_FOUND, f'This server has no service "{name}".')
        return _Response(status=self._status(request.service))

    @override
    async def List(self, request: Any, context: Any) -> Any:
        """Status of each name."""
        return health_pb2.HealthListResponse(
            statuses={name: _Response(status=self._status(name)) for name in self._serving}
        )

    @override
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
        if name not in self._serving:
            return _Response.SERVICE_UNKNOWN
        return _Response.SERVING if self._serving[name] else _Response.NOT_SERVING

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
