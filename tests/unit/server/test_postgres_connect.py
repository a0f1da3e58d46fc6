"""Connections to PostgreSQL: which host is taken, and when one is left."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.database import postgres_connect, postgres_engine
from tallygate._server.database.engine import create_engine, quick_reads, read_only
from tallygate._server.database.migration import explain
from tallygate._server.database.postgres_connect import NotWantedError
from tallygate._server.database.postgres_engine import PostgresEngine
from tallygate._server.database.postgres_url import places_of
from tallygate._server.process.readiness import problem_of
from tests.harness.patience import PATIENCE_S, until_found
from tests.harness.postgres import fresh_database

PID = text("SELECT pg_backend_pid()")


@pytest.fixture
async def url(postgres_url: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_url) as url:
        yield url


async def pid(engine: AsyncEngine) -> int:
    async with engine.begin() as connection:
        return int((await connection.execute(PID)).scalar_one())


async def make_read_only(url: str) -> None:
    """From the next connection on."""
    engine = create_engine(url)
    database = make_url(url).database
    async with engine.begin() as connection:
        await connection.execute(text(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on'))
    await engine.dispose()


def with_host_before(url: str, host: str) -> str:
    """The same URL with another host that is tried first."""
    ((directory, port),) = places_of(make_url(url))
    database = make_url(url).database
    return (
        f"postgresql://postgres@/{database}?host={host}&host={directory}&port={host.partition(':')[2]},{port or 5432}"
    )


async def test_a_host_that_says_nothing_is_left_for_the_next(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's own timeout is for all hosts together: the others would never be tried."""
    monkeypatch.setattr(postgres_connect, "FURTHER_HOST_TIMEOUT_S", 0.1)

    async def is_reached() -> bool:
        # On a busy machine the other one may not answer within that time either.
        with suppress(TimeoutError, OSError):
            return bool(await pid(engine))
        return False

    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = create_engine(with_host_before(url, f"127.0.0.1:{silent.getsockname()[1]}"))
        await until_found(is_reached)
    await engine.dispose()
    # It was good last, so it is tried first: the silent one is not even there any more.
    await until_found(is_reached)
    await engine.dispose()


async def test_a_server_that_is_read_only_is_not_taken_for_writing(url: str) -> None:
    """It is said; for reading it will do."""
    await make_read_only(url)
    engine, reading = create_engine(url), create_engine(url, wanted="any")
    with pytest.raises(NotWantedError) as caught:
        await pid(engine)
    assert "is read-only; name the primary server in the database URL." in explain(engine.url, caught.value)
    async with read_only(reading) as connection:
        await connection.execute(PID)
    assert await problem_of(reading) is None
    await engine.dispose()
    await reading.dispose()


async def test_a_connection_that_has_become_read_only_is_thrown_away(url: str) -> None:
    """And with it all that were opened before: who was the leader does not become it again by being asked."""
    engine = create_engine(url)
    before = await pid(engine)
    async with engine.begin() as connection:
        await connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
    with pytest.raises(DBAPIError) as caught:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE never (n INTEGER)"))
    assert caught.value.connection_invalidated
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE now (n INTEGER)"))
    assert await pid(engine) != before
    await engine.dispose()


async def test_a_leader_that_became_a_stand_by_is_left_though_nobody_writes(url: str) -> None:
    """Readiness sees it, and readers get no old rows from it."""
    engine = create_engine(url)
    before = await pid(engine)
    await quick_reads(engine).rows("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    assert "is read-only" in (await problem_of(engine) or "")
    assert await problem_of(engine) is None
    assert await pid(engine) != before
    await engine.dispose()


async def test_a_transaction_that_goes_on_has_more_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stops thousands of services takes as long as it takes; its time is for one that is frozen."""
    passed = itertools.count()
    monkeypatch.setattr(postgres_engine, "time", SimpleNamespace(monotonic=lambda: 3.0 * next(passed)))
    engine = create_engine(url)
    await pid(engine)
    monkeypatch.setattr(postgres_connect, "TRANSACTION_S", 16)
    for _ in range(2):
        async with engine.begin() as connection:
            found = [await connection.scalar(text("SHOW transaction_timeout")) for _ in range(2)]
        assert found == ["15s", "16s"]
    await engine.dispose()


async def test_readers_leave_a_connection_to_writers(url: str) -> None:
    """However many there are: a node's commits wait for no report of usage."""
    engine = create_engine(url, 3)
    assert isinstance(engine, PostgresEngine)
    is_over = asyncio.Event()

    async def read() -> None:
        async with read_only(engine) as connection:
            await connection.execute(PID)
            await is_over.wait()

    readers = [asyncio.create_task(read()) for _ in range(5)]
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert await pid(engine)
            await quick_reads(engine).answer()
    finally:
        is_over.set()
        await asyncio.gather(*readers)
    await engine.dispose()


@pytest.mark.parametrize("count", [3, 8])
async def test_a_program_opens_no_more_connections_than_it_is_told(url: str, count: int) -> None:
    """As the server counts them, while all at once want one."""
    engine = create_engine(url, count)
    own = "datname = current_database() AND backend_type = 'client backend'"
    number = f"SELECT count(*) FROM pg_stat_activity WHERE {own}"  # noqa: S608  # a constant

    async def work(writes: bool) -> int:
        async with engine.begin() if writes else read_only(engine) as connection:
            return int((await connection.execute(text(number))).scalar_one())

    await quick_reads(engine).answer()
    found = await asyncio.gather(*(work(bool(index % 2)) for index in range(40)))
    assert max(found) == count
    await engine.dispose()
