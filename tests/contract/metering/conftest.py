"""The metering database, empty for each test, on SQLite and on PostgreSQL; its tables are made once."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.storage import MIGRATIONS, SqlRecorder, SqlUsageReader
from metering_service.storage.schema import metadata
from tallygate._server.database.engine import create_engine
from tests.harness.migrated import migrated_url
from tests.harness.postgres import empty


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """A database at the newest revision with nothing in it."""
    is_sqlite = request.param == "sqlite"
    url: str = (
        migrated_url(tmp_path / "metering.sqlite3", MIGRATIONS)
        if is_sqlite
        else request.getfixturevalue("migrated_postgres")(MIGRATIONS)
    )
    engine = create_engine(url)
    yield engine
    await engine.dispose()
    if not is_sqlite:
        await empty(url, metadata.sorted_tables)


@pytest.fixture
async def recorder(database: AsyncEngine) -> AsyncIterator[SqlRecorder]:
    """The recorder under test; the ids that it makes are id-1, id-2 ..."""
    numbers = itertools.count(1)
    recorder = SqlRecorder(database, lambda: f"id-{next(numbers)}")
    yield recorder
    await recorder.close()


@pytest.fixture
def reader(database: AsyncEngine) -> SqlUsageReader:
    """The reader under test."""
    return SqlUsageReader(database)
