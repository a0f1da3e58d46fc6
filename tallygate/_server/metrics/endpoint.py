"""The address at which Prometheus scrapes a service.

prometheus_client serves it on threads of its own. The numbers are read on the event loop, where they belong, in small
steps; where the loop does not answer, the scrape says so and has the process's own numbers.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from socketserver import TCPServer
from threading import Thread
from typing import Any, Final, TypeAlias
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from typing_extensions import override

from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.listen import parse_listen, require_free
from tallygate._server.metrics.families import gauge

Read: TypeAlias = Callable[[], Awaitable[Sequence[Metric]]]
"""Reads the numbers of a service, on its event loop."""

ANSWER_MAX_S: Final = 5.0
"""Timeout of the event loop's answer; Prometheus waits for a scrape no longer than 10 s by default."""

IDLE_MAX_S: Final = 10.0
"""Timeout of a connection on which nothing is said."""


class LoopCollector(Collector):
    """Reads what lives on an event loop, from any other thread."""

    def __init__(self, read: Read, loop: asyncio.AbstractEventLoop, answer_max_s: float = ANSWER_MAX_S) -> None:
        self._read = read
        self._loop = loop
        self._answer_max_s = answer_max_s

    @override
    def collect(self) -> Iterator[Metric]:
        families = self._ask()
        yield gauge(
            "tallygate_loop_answers",
            "Whether the event loop answered this scrape; where it did not, most metrics are missing.",
            int(families is not None),
        )
        yield from families or ()

    def _ask(self) -> Sequence[Metric] | None:
        async def read() -> Sequence[Metric]:
            return await self._read()

        coroutine = read()
        try:
            asked = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # The loop is closed: the program ends.
            coroutine.close()
            return None
        try:
            return asked.result(self._answer_max_s)
        except (TimeoutError, CancelledError):
            asked.cancel()
            return None


class _Handler(WSGIRequestHandler):
    """One request on a thread of its own; whoever says nothing does not keep it."""

    timeout = IDLE_MAX_S

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """A scrape is not worth a line."""


class _Server(ThreadingWSGIServer):
    """Binds what it is told to, without asking a name server for a name of it, which may take many seconds."""

    @override
    def server_bind(self) -> None:
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # TCP has both
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


@asynccontextmanager
async def serving_metrics(listen: str, read: Read) -> AsyncIterator[str]:
    """Serves inside the block, and gives the address.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    require_free(listen)
    host, port = parse_listen(listen)
    bare = host.removeprefix("[").removesuffix("]")
    registry = CollectorRegistry()
    registry.register(LoopCollector(read, asyncio.get_running_loop()))
    kind = _Server if bare == host else _Server6
    try:
        server = make_server(bare, port, make_wsgi_app(registry), kind, handler_class=_Handler)
    except OSError as error:  # Somebody took it in between.
        raise ConfigurationError(f"Cannot serve metrics on {listen}: {error.strerror}.") from error
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
