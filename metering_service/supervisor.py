"""Several nodes on one machine: worker processes behind one shared port, watched, and started again when they end.

The kernel spreads new connections over the workers (SO_REUSEPORT). It goes on to do so for one that is stuck, so each
has a port of its own, too, that clients can name. Every worker is a node: its own name, epoch, leases and books.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Never

import structlog

from tallygate._server.errors import ConfigurationError, StartupError, SupersededError
from tallygate._server.grpc.listen import parse_listen, require_free
from tallygate._server.process.run import EXIT_SUPERSEDED, announce

BACKOFF_FIRST_S: Final = 0.2
"""First delay before a worker that ended is started again."""
BACKOFF_MAX_S: Final = 5.0
"""Maximum of that delay, which doubles."""
SERVED_WELL_S: Final = 30.0
"""Uptime from which a worker counts as well: its next restart has the first delay again."""
STOP_S: Final = 30.0
"""Timeout of workers that are told to stop; then they are killed."""
_SERVING: Final = b"serving "

_log = structlog.get_logger(__name__)


def worker_name(node_name: str, number: int) -> str:
    """The name of a worker's node; numbers begin at 1."""
    return f"{node_name}-{number}"


def own_address(listen: str, number: int) -> str:
    """A worker's own port: the shared one and its number; any free one where the shared one is any, too."""
    host, port = parse_listen(listen)
    return f"{host}:{port + number if port else 0}"


class Shared(NamedTuple):
    """The addresses that workers share; the second is empty where callers with certificates have none."""

    listen: str
    mtls_listen: str = ""


class Supervisor:
    """Runs workers until it is told to stop. `arguments`, `variables`: the options that all workers have.

    `mtls_listen`: the port that they share for callers with certificates, if there is one. `metrics_listen`: the port
    before theirs for metrics, which nobody listens on.
    """

    def __init__(
        self,
        listen: str,
        node_name: str,
        worker_count: int,
        arguments: Sequence[str],
        variables: Mapping[str, str],
        *,
        mtls_listen: str = "",
        metrics_listen: str = "",
    ) -> None:
        self._listen = listen
        self._metrics_listen = metrics_listen
        self._mtls_listen = mtls_listen
        self._node_name = node_name
        self._worker_count = worker_count
        self._arguments = arguments
        self._variables = variables
        self._serving: set[int] = set()
        self._is_announced = False

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; no worker is left running.

        Raises:
            SupersededError: another process runs as one of the workers' nodes.
            StartupError: a worker cannot start.
            OSError: no process can be started.
        """
        with _held(self._listen) as listen, _held(self._mtls_listen) as mtls_listen:
            shared = Shared(listen, mtls_listen)
            workers = [asyncio.create_task(self._keep(shared, number)) for number in range(1, self._worker_count + 1)]
            stopping = asyncio.create_task(stop.wait())
            try:
                ends: list[asyncio.Future[Any]] = [stopping, *workers]
                ended, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for each in ended:
                    each.result()
            finally:
                stopping.cancel()
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _keep(self, shared: Shared, number: int) -> Never:
        """One worker's lives, one after the other.

        Also where a database went backwards: `tallygate recover` needs a node that listens. Raises what `run` does.
        """
        name, delay_s, has_served = worker_name(self._node_name, number), BACKOFF_FIRST_S, False
        while True:
            try:
                status, served_s = await self._live(shared, number)
            except OSError as error:
                if not has_served:
                    raise
                # For lack of memory or of descriptors: that may pass.
                _log.warning("worker_not_started", node=name, problem=str(error))
                status, served_s = None, None
            has_served = has_served or served_s is not None
            if status == EXIT_SUPERSEDED:
                raise SupersededError(
                    f"Another process runs as node {name}, so these workers end; choose another --node-name for them."
                )
            if not has_served:
                raise StartupError(f"Worker {name} ended with status {status} before it served.")  # It has said why.
            if served_s is not None and served_s >= SERVED_WELL_S:
                delay_s = BACKOFF_FIRST_S
            _log.warning("worker_ended", node=name, status=status, again_in_s=delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, BACKOFF_MAX_S)

    async def _live(self, shared: Shared, number: int) -> tuple[int | None, float | None]:
        """One life: its exit status, and how long it served; None where it never did. Raises OSError."""
        loop = asyncio.get_running_loop()
        process = await self._start(shared, number)
        try:
            since_s = None
            if await self._serves(process):
                since_s = loop.time()
                self._note_serving(shared, number)
            status = await process.wait()
            return status, None if since_s is None else loop.time() - since_s
        finally:
            self._serving.discard(number)
            await _end(process)

    async def _start(self, shared: Shared, number: int) -> Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "metering_service", *self.told(shared, number)),
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,
            env={**os.environ, **self._variables},
        )

    def told(self, shared: Shared, number: int) -> list[str]:
        """A worker's options."""
        return [
            *self._arguments,
            *("--listen", own_address(self._listen, number)),
            *("--shared-listen", shared.listen, "--node-name", worker_name(self._node_name, number)),
            # Said where it is none, too: the environment may name one.
            *("--mtls-listen", own_address(self._mtls_listen, number) if self._mtls_listen else ""),
            *("--shared-mtls-listen", shared.mtls_listen),
            *("--metrics-listen", own_address(self._metrics_listen, number) if self._metrics_listen else ""),
            # The environment is a worker's, too, and may say of it that it is several.
            *("--workers", "1"),
        ]

    async def _serves(self, process: Process) -> bool:
        assert process.stdout is not None
        return (await process.stdout.readline()).startswith(_SERVING)

    def _note_serving(self, shared: Shared, number: int) -> None:
        self._serving.add(number)
        if len(self._serving) == self._worker_count:
            _log.info("workers_serving", address=shared.listen, count=self._worker_count)
            if not self._is_announced:
                self._is_announced = True
                announce(shared.listen, shared.mtls_listen)


async def watch_supervisor(stop: asyncio.Event) -> None:
    """Sets `stop` when standard input ends: the supervisor is gone, however it went."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    stop.set()


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@contextmanager
def _held(listen: str) -> Iterator[str]:
    """The shared address, kept from other programs while no worker has it. Takes no connection itself."""
    if not listen:
        yield ""
        return
    require_free(listen)
    host, port = parse_listen(listen)
    bare = host.removeprefix("[").removesuffix("]")
    family, kind, *_, address = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            holder.bind(address)
        except OSError as error:
            raise ConfigurationError(f"Cannot listen on {listen}: {error.strerror}.") from error
        yield f"{host}:{holder.getsockname()[1]}"
