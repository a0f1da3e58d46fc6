"""The control database, fresh for each test, on SQLite and on PostgreSQL."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.storage.database import SqlDatabase
from tallygate._server.database import migrate
from tests.contract.control.desk import Desk
from tests.contract.control.fleet_kit import Kit


@pytest.fixture
async def database(engine: AsyncEngine) -> SqlDatabase:
    """A migrated database."""
    await migrate(engine, "control_service:storage/migrations", "control service")
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
