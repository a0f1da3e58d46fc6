"""The schema in code and the one that the revisions make."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.storage.columns import metadata
from control_service.storage.database import MIGRATIONS
from tallygate._server.database.engine import migrate
from tests.harness.schema_floor import is_a_services


async def test_revisions_and_schema_agree(engine: AsyncEngine) -> None:
    """A database that was migrated has exactly the tables, columns, indexes and constraints of the schema."""
    await migrate(engine, MIGRATIONS, "control service")

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": is_a_services})
        return list(compare_metadata(context, metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
