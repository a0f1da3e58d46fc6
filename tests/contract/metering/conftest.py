"""The metering database, fresh for each test, on SQLite and on PostgreSQL."""

import itertools

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.storage import MIGRATIONS, SqlRecorder, SqlUsageReader
from tallygate._server.database import migrate


@pytest.fixture
async def database(engine: AsyncEngine) -> AsyncEngine:
    """A migrated database."""
    await migrate(engine, MIGRATIONS, "metering service")
    return engine


@pytest.fixture
def recorder(database: AsyncEngine) -> SqlRecorder:
    """The recorder under test; the ids that it makes are id-1, id-2 ..."""
    numbers = itertools.count(1)
    return SqlRecorder(database, lambda: f"id-{next(numbers)}")


@pytest.fixture
def reader(database: AsyncEngine) -> SqlUsageReader:
    """The reader under test."""
    return SqlUsageReader(database)
