"""The tables that the code speaks of are those that the migrations make."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.storage.schema import metadata
from tests.harness.schema_floor import is_a_services


async def test_metadata_and_migrations_agree(database: AsyncEngine) -> None:
    """Nothing is to be migrated after the last revision, in the tables and in the order of their keys."""

    def compare(connection: Connection) -> None:
        context = MigrationContext.configure(connection, opts={"include_name": is_a_services})
        assert compare_metadata(context, metadata) == []
        for name, table in metadata.tables.items():
            migrated = Table(name, MetaData(), autoload_with=connection)
            assert [column.name for column in migrated.primary_key] == [column.name for column in table.primary_key]

    async with database.begin() as connection:
        await connection.run_sync(compare)
