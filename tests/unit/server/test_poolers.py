"""A real PgBouncer in front of PostgreSQL, as Debian sets it up, in each of its modes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

import control_service.settings
import metering_service.settings
from control_service.storage.database import MIGRATIONS
from tallygate._server.database.engine import create_engine, migrate, quick_reads, read_only
from tallygate._server.errors import DatabaseError
from tests.harness.postgres import fresh_database
from tests.harness.programs.pgbouncer import PgBouncer, pgbouncer

CONNECTIONS_MAX = 100 - 3
"""PostgreSQL's default, less those that it keeps for its superuser."""


@asynccontextmanager
async def pooled(postgres_url: str, mode: str, directory: Path) -> AsyncIterator[tuple[PgBouncer, AsyncEngine, str]]:
    """A pooler, an engine through it, and the URL of the same database without it."""
    async with fresh_database(postgres_url) as url, pgbouncer(postgres_url, mode, directory) as running:
        engine = create_engine(running.url(make_url(url).database or ""))
        try:
            yield running, engine, url
        finally:
            await engine.dispose()


async def write_and_read(engine: AsyncEngine, times: int) -> None:
    """Transactions of several statements, which several at once send by the same few sessions."""
    for number in range(times):
        async with engine.begin() as connection:
            for statement in ("SELECT CAST(:n AS integer) + 1", "SELECT CAST(:n AS integer) + 2"):
                found = await connection.execute(text(statement), {"n": number})
                assert found.scalar_one() in (number + 1, number + 2)
        async with read_only(engine) as connection:
            assert (await connection.execute(text("SELECT CAST(:n AS integer)"), {"n": number})).scalar_one() == number


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_everything_works_through_a_pooler(postgres_url: str, mode: str, tmp_path: Path) -> None:
    """Migrations, transactions, quick reads, and the time-out of a program that is frozen in a transaction."""
    async with pooled(postgres_url, mode, tmp_path) as (_, engine, _):
        await migrate(engine, MIGRATIONS, "control service")
        await asyncio.gather(*(write_and_read(engine, 20) for _ in range(6)))
        assert await quick_reads(engine).rows("SELECT 1", "SELECT 2") == [[(1,)], [(2,)]]
        async with engine.begin() as connection:
            timeout = await connection.execute(text("SHOW idle_in_transaction_session_timeout"))
            assert timeout.scalar_one() == "3s"


async def test_nothing_is_left_in_the_sessions_that_others_share(postgres_url: str, tmp_path: Path) -> None:
    """No statements, no settings."""
    async with pooled(postgres_url, "transaction", tmp_path) as (_, engine, _):
        await asyncio.gather(*(write_and_read(engine, 5) for _ in range(3)))
        async with engine.begin() as connection:
            statements = await connection.execute(text("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"))
            assert statements.scalar_one() == 0
            session = await connection.execute(
                text("SELECT reset_val FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'")
            )
            assert session.scalar_one() == "0"


async def test_a_pooler_that_is_started_again_is_waited_for(postgres_url: str, tmp_path: Path) -> None:
    """Its connections are thrown away, and the next transactions have new ones."""
    async with pooled(postgres_url, "transaction", tmp_path) as (running, engine, _):
        await asyncio.gather(*(write_and_read(engine, 1) for _ in range(4)))
        await running.kill()
        with pytest.raises(Exception, match=r"clos|refused|lost"):
            await write_and_read(engine, 1)
        await running.start()
        await asyncio.gather(*(write_and_read(engine, 3) for _ in range(4)))


async def test_statement_mode_is_refused_at_the_start(postgres_url: str, tmp_path: Path) -> None:
    """Not at the first call: it has no transactions."""
    async with pooled(postgres_url, "statement", tmp_path) as (_, engine, _):
        with pytest.raises(
            DatabaseError, match=r"behind a pooler in statement mode.*set its pool_mode to transaction\."
        ):
            await migrate(engine, MIGRATIONS, "control service")


async def test_without_a_pooler_statements_are_kept(postgres_url: str) -> None:
    """A third of the processor's time of a small transaction is that of preparing it."""
    async with fresh_database(postgres_url) as url:
        engine = create_engine(url)
        await write_and_read(engine, 2)
        async with engine.begin() as connection:
            kept = await connection.execute(text("SELECT count(*) FROM pg_prepared_statements"))
            assert kept.scalar_one() > 0
        await engine.dispose()


def test_a_fleet_fits_into_what_postgresql_allows() -> None:
    """Twenty nodes and two replicas of control, all databases on one server, with what each has at most."""
    nodes = 20 * metering_service.settings.parse([], {}).database_connections
    assert nodes + 2 * control_service.settings.parse([], {}).database_connections <= CONNECTIONS_MAX
