"""The control database, empty for each test, on SQLite and on PostgreSQL; its tables are made once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.storage.columns import metadata
from control_service.storage.database import MIGRATIONS, SqlDatabase
from tallygate._server.database.engine import create_engine
from tests.harness.control.fleet_harness import Kit
from tests.harness.control.people_harness import Desk
from tests.harness.migrated import migrated_url
from tests.harness.postgres import empty


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """URL of a database at the newest revision with nothing in it."""
    if request.param == "sqlite":
        yield migrated_url(tmp_path / "control.sqlite3", MIGRATIONS)
        return
    url = request.getfixturevalue("migrated_postgres")(MIGRATIONS)
    yield url
    tables = [table for table in metadata.sorted_tables if table.name != "meta"]
    await empty(url, tables, "UPDATE meta SET config_version = 0, metering_database_id = NULL")


@pytest.fixture
async def planner(request: pytest.FixtureRequest, engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """Whom to ask for plans: on PostgreSQL a database that nobody writes to, since plans depend on what was there."""
    if engine.dialect.name == "sqlite":
        yield engine
        return
    planner = create_engine(request.getfixturevalue("migrated_postgres")(MIGRATIONS, "plans"))
    yield planner
    await planner.dispose()


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
