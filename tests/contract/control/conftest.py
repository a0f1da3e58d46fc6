"""The control database, empty for each test, on SQLite and on PostgreSQL; its tables are made once."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.storage.columns import metadata
from control_service.storage.database import MIGRATIONS, SqlDatabase
from tallygate._server.database.engine import create_engine, migrate
from tests.harness.control.fleet_harness import Kit
from tests.harness.control.people_harness import Desk
from tests.harness.postgres import fresh_database

Result = TypeVar("Result")


Run = Callable[[Coroutine[Any, Any, Result]], Result]


@pytest.fixture(scope="session")
def run() -> Iterator[Run[Any]]:
    """Runs what the session needs in a thread of its own: fixtures of the session are made while a test's loop runs."""
    loop = asyncio.new_event_loop()
    with ThreadPoolExecutor(1) as executor:
        yield lambda work: executor.submit(loop.run_until_complete, work).result()
    loop.close()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory, run: Run[Any]) -> Path:
    """A SQLite file at the newest revision, to be copied."""
    path = tmp_path_factory.mktemp("control") / "migrated.sqlite3"
    run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str, run: Run[Any]) -> Iterator[str]:
    """A PostgreSQL database at the newest revision, to be emptied after use."""
    database = fresh_database(postgres_url)
    url = run(database.__aenter__())
    run(_migrate(url))
    yield url
    run(database.__aexit__(None, None, None))


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """URL of a database at the newest revision with nothing in it."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "control.sqlite3")
        yield f"sqlite:///{path}"
        return
    url = request.getfixturevalue("migrated_postgres")
    yield url
    engine = create_engine(url)
    async with engine.begin() as connection:
        tables = ", ".join(table.name for table in metadata.sorted_tables if table.name != "meta")
        await connection.execute(text(f"TRUNCATE {tables}"))
        await connection.execute(text("UPDATE meta SET config_version = 0, metering_database_id = NULL"))
    await engine.dispose()


@pytest.fixture
def database(engine: AsyncEngine) -> SqlDatabase:
    """The database as use cases see it."""
    return SqlDatabase(engine)


@pytest.fixture
async def kit(database: SqlDatabase) -> Kit:
    """The fleet's use cases, an account with 1,000,000 nanos, and a model."""
    kit = Kit(database)
    await kit.account(funds=1_000_000)
    await kit.model()
    return kit


@pytest.fixture
async def desk(database: SqlDatabase) -> Desk:
    """The use cases of people, an account without money, and a model without a price."""
    desk = Desk(database)
    await desk.create_account()
    await desk.create_model()
    return desk


async def _migrate(url: str) -> None:
    engine = create_engine(url)
    await migrate(engine, MIGRATIONS, "control service")
    await engine.dispose()
