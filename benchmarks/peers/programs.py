"""Starts others' programs, which the environment names, on ports of loopback; they are gone when they are left.

None keeps anything on disk, as they come, and none may use more than one processor at a time in its own code.
"""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers.dialects import DOMAIN, ENTRY
from benchmarks.targets import Target

HOST: Final = "127.0.0.1"
ONE_CORE: Final = {"GOMAXPROCS": "1"}
PATIENCE_S: Final = 30.0
STOP_S: Final = 5.0
LIMIT: Final = 2**32 - 1
LOG_LINES_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Peer:
    """`variables`: of the environment, that name its programs. `promise`: what its decisions are worth."""

    name: str
    dialect: str
    variables: Sequence[str]
    promise: str
    start: "Callable[[Path], AbstractAsyncContextManager[Target]]"

    @property
    def missing(self) -> list[str]:
        """Variables that name nothing."""
        return [variable for variable in self.variables if not os.environ.get(variable)]


@asynccontextmanager
async def gubernator(directory: Path) -> AsyncIterator[Target]:
    """One node of it, which owns all keys."""
    async with AsyncExitStack() as stack:
        port, http, gossip = _free_ports(3)
        told = {
            "GUBER_GRPC_ADDRESS": f"{HOST}:{port}",
            "GUBER_HTTP_ADDRESS": f"{HOST}:{http}",
            "GUBER_ADVERTISE_ADDRESS": f"{HOST}:{port}",
            "GUBER_PEER_DISCOVERY_TYPE": "member-list",  # the one that needs nobody else, and finds the node itself
            "GUBER_MEMBERLIST_ADDRESS": f"{HOST}:{gossip}",
            "GUBER_MEMBERLIST_BIND_ADDRESS": f"{HOST}:{gossip}",
            "GUBER_MEMBERLIST_KNOWN_NODES": f"{HOST}:{gossip}",
            "GUBER_CACHE_SIZE": "200000",
            "GUBER_LOG_LEVEL": "error",
        }
        pid = await _run(stack, directory, [os.environ[GUBERNATOR]], told | ONE_CORE, port)
        yield Target([f"{HOST}:{port}"], [pid], [])


@asynccontextmanager
async def ratelimit(directory: Path) -> AsyncIterator[Target]:
    """It, and a Redis that keeps its counts. Their processor time is one figure."""
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        port, http, debug, redis = _free_ports(4)
        command = [os.environ[REDIS], "--port", str(redis), "--bind", HOST, "--save", "", "--appendonly", "no"]
        pids = [await _run(stack, home, command, {}, redis)]
        (home / "limits/config").mkdir(parents=True)
        (home / "limits/config/bench.yaml").write_text(
            f"domain: {DOMAIN}\ndescriptors:\n- key: {ENTRY}\n"
            f"  rate_limit: {{unit: minute, requests_per_unit: {LIMIT}}}\n"
        )
        told = {
            "HOST": HOST,
            "GRPC_HOST": HOST,
            "DEBUG_HOST": HOST,
            "PORT": str(http),
            "GRPC_PORT": str(port),
            "DEBUG_PORT": str(debug),
            "REDIS_SOCKET_TYPE": "tcp",
            "REDIS_URL": f"{HOST}:{redis}",
            "USE_STATSD": "false",
            "RUNTIME_ROOT": str(home),
            "RUNTIME_SUBDIRECTORY": "limits",
            "RUNTIME_WATCH_ROOT": "false",
            "LOG_LEVEL": "ERROR",
        }
        pids.append(await _run(stack, home, [os.environ[RATELIMIT]], told | ONE_CORE, port))
        yield Target([f"{HOST}:{port}"], pids, [])


@asynccontextmanager
async def limitador(directory: Path) -> AsyncIterator[Target]:
    """It, with its counts in memory."""
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        port, http = _free_ports(2)
        limits = home / "limits.yaml"
        limits.write_text(
            f"- namespace: {DOMAIN}\n  max_value: {LIMIT}\n  seconds: 60\n  conditions: []\n"
            f"  variables: [\"descriptors[0]['{ENTRY}']\"]\n"
        )
        command = [os.environ[LIMITADOR], "--rls-ip", HOST, "--rls-port", str(port)]
        command += ["--http-ip", HOST, "--http-port", str(http), str(limits), "memory"]
        pid = await _run(stack, home, command, {"TOKIO_WORKER_THREADS": "1"}, port)
        yield Target([f"{HOST}:{port}"], [pid], [])


GUBERNATOR, RATELIMIT, REDIS, LIMITADOR = (
    f"TALLYGATE_BENCH_{name}" for name in ("GUBERNATOR", "RATELIMIT", "REDIS", "LIMITADOR")
)
PEERS: Final = (
    Peer(
        "Gubernator",
        "gubernator",
        [GUBERNATOR],
        "a bucket of one number for each key, in memory: exact on the node that owns the key, gone with that node; "
        "it does not know who pays, and nothing is recorded",
        gubernator,
    ),
    Peer(
        "envoyproxy/ratelimit over Redis",
        "ratelimit",
        [RATELIMIT, REDIS],
        "a counter for each key and minute of the clock, so up to twice the limit at the edge of a minute; as durable "
        "as Redis is told to be, here not at all; it does not know who pays, and nothing is recorded",
        ratelimit,
    ),
    Peer(
        "Limitador",
        "ratelimit",
        [LIMITADOR],
        "a counter for each key and period, in memory, gone with the process; it does not know who pays, and nothing "
        "is recorded",
        limitador,
    ),
)


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago: these programs do not say which one they were given."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


async def _run(
    stack: AsyncExitStack, directory: Path, command: Sequence[str], told: Mapping[str, str], port: int
) -> int:
    """Start a program, and wait until its port is open. Its id; raises RuntimeError with its last words."""
    log = directory / f"{Path(command[0]).name}-{port}.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=directory,
            env={**os.environ, **told},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=asyncio.subprocess.STDOUT,
        )
    stack.push_async_callback(_end, process)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await _is_open(port):  # another process opens it
                if process.returncode is not None:
                    break
                await asyncio.sleep(0.05)
    except TimeoutError:
        process.kill()
    if process.returncode is not None or not await _is_open(port):
        last = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        raise RuntimeError("\n".join([f"{command[0]} does not serve:", *last]))
    return process.pid


async def _is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
    await process.wait()
