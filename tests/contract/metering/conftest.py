"""The metering database, fresh for each test, on SQLite and on PostgreSQL."""

import itertools
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.storage import MIGRATIONS, SqlRecorder, SqlUsageReader
from tallygate._server.database.engine import migrate


@pytest.fixture
async def database(engine: AsyncEngine) -> AsyncEngine:
    """A migrated database."""
    await migrate(engine, MIGRATIONS, "metering service")
    return engine


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
