"""A database that does not answer, and transactions that get into each other's way."""

import asyncio
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.errors import StorageUnavailableError
from control_service.storage.database import SqlDatabase
from control_service.usecases.ports import ResponseKey, StoredResponse
from tallygate._server.database.engine import create_engine
from tests.harness.control.fleet_harness import Kit
from tests.harness.control.people_harness import Desk

BUSY_S = 0.5
WAITING = 100
KEY = ResponseKey("acme", "", "Method", "key")
# Parse of `SELECT 1`, and Flush, as PostgreSQL's protocol has them.
_FIRST_PART = b"P" + (4 + 1 + 9 + 2).to_bytes(4) + b"\0SELECT 1\0" + bytes(2) + b"H" + (4).to_bytes(4)


async def test_no_server_is_unavailable() -> None:
    """Nobody listens there: the caller gets an error to retry, not one of a bug."""
    engine = create_engine("postgresql://nobody@127.0.0.1:1/nothing")
    database = SqlDatabase(engine)
    for transaction in (database.reading, database.writing):
        with pytest.raises(StorageUnavailableError):
            async with transaction() as tx:
                await tx.config_version()
    await engine.dispose()


async def test_a_damaged_file_is_unavailable(tmp_path: Path) -> None:
    """The same holds for a file that is no database any more."""
    path = tmp_path / "control.sqlite3"
    engine = create_engine(f"sqlite:///{path}")
    path.write_bytes(b"not a database, " * 1_000)
    with pytest.raises(StorageUnavailableError):
        async with SqlDatabase(engine).reading() as tx:
            await tx.config_version()
    await engine.dispose()


async def test_connections_that_were_cut_are_replaced(desk: Desk, database_url: str, engine: AsyncEngine) -> None:
    """PostgreSQL was restarted: the first callers may have to try again; no manual step is needed."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has no server")
    await asyncio.gather(*(desk.pay(1) for _ in range(10)))
    killer = create_engine(database_url)
    async with killer.begin() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        await connection.execute(text(f"{others} AND pid <> pg_backend_pid()"))
    await killer.dispose()
    results = await asyncio.gather(*(desk.pay(1) for _ in range(10)), return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    assert {type(error) for error in failed} <= {StorageUnavailableError}
    await asyncio.gather(*(desk.pay(1) for _ in range(10)))
    assert (await desk.account()).balance_nanos == 30 - len(failed)


async def test_a_transaction_that_is_cut_off_leaves_nothing(desk: Desk, database_url: str) -> None:
    """The connection breaks within the transaction: the caller gets an error to retry, and nothing is stored."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has no server")
    with pytest.raises(StorageUnavailableError):
        async with desk.database.writing() as tx:
            account = await tx.accounts.lock("acme")
            await tx.accounts.save(replace(account, funds_nanos=5))
            await tx._connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert (await desk.account()).balance_nanos == 0


async def test_a_program_that_is_frozen_keeps_its_locks_for_a_while_only(
    desk: Desk, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go on without it; awake again, it finds that nothing of its transaction was done."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite is for one process")
    monkeypatch.setattr("tallygate._server.database.postgres_connect.IDLE_IN_TRANSACTION_S", 1)
    engine = create_engine(database_url)
    has_locked = False
    while not has_locked:  # A busy machine may freeze it before it has.
        with pytest.raises(StorageUnavailableError):
            async with SqlDatabase(engine).writing() as tx:
                account = await tx.accounts.lock("acme")
                has_locked = True
                await desk.pay(10)
                await tx.accounts.save(replace(account, funds_nanos=5))
    assert (await desk.account()).balance_nanos == 10
    await engine.dispose()


async def test_a_program_frozen_within_a_statement_keeps_its_locks_for_a_while_only(
    desk: Desk, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has sent the statement's first part: for PostgreSQL its transaction is not idle, it waits for the second."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite is for one process")
    monkeypatch.setattr("tallygate._server.database.postgres_connect.TRANSACTION_S", 1)
    engine = create_engine(database_url)
    has_locked = False
    while not has_locked:  # A busy machine may freeze it before it has.
        with pytest.raises(StorageUnavailableError):
            async with SqlDatabase(engine).writing() as tx:
                account = await tx.accounts.lock("acme")
                has_locked = True
                driver = (await tx._connection.get_raw_connection()).driver_connection
                assert driver is not None
                driver._transport.pause_reading()
                driver._transport.write(_FIRST_PART)
                await desk.pay(10)
                driver._transport.resume_reading()
                await tx.accounts.save(replace(account, funds_nanos=5))
    assert (await desk.account()).balance_nanos == 10
    await engine.dispose()


async def test_a_full_disk_is_said_and_leaves_nothing_half_written(desk: Desk, database_url: str) -> None:
    """What does not fit is undone as a whole; when there is room again, it goes on by itself."""
    if not database_url.startswith("sqlite"):
        pytest.skip("the limit is one of SQLite")
    before = await desk.account()
    full = create_engine(database_url)
    event.listen(full.sync_engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 1"))
    sound, desk.database = desk.database, SqlDatabase(full)
    note = b"x" * 100_000
    with pytest.raises(StorageUnavailableError, match="no room left on its disk"):
        async with desk.database.writing() as tx:
            account = await tx.accounts.lock("acme")
            await tx.accounts.save(replace(account, funds_nanos=5))
            await tx.responses.keep(KEY, StoredResponse(note, note), desk.now_us)
    await full.dispose()
    desk.database = sound
    assert await desk.account() == before
    await desk.pay(10)
    async with desk.database.reading() as tx:
        assert await tx.responses.find(KEY) is None


async def test_a_file_that_another_program_keeps_locked_is_unavailable(
    desk: Desk, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All waiting calls fail within the time for one, not one after the other; later calls succeed again."""
    if not database_url.startswith("sqlite"):
        pytest.skip("PostgreSQL locks rows")
    monkeypatch.setattr("tallygate._server.database.engine.BUSY_TIMEOUT_S", BUSY_S)
    engine = create_engine(database_url)
    desk.idempotent_calls = Desk(SqlDatabase(engine)).idempotent_calls
    with closing(sqlite3.connect(make_url(database_url).database or "", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        results = await asyncio.gather(*(desk.pay(1) for _ in range(WAITING)), return_exceptions=True)
        took_s = time.monotonic() - began
        other.execute("ROLLBACK")
    assert {type(result) for result in results} == {StorageUnavailableError}
    assert took_s < BUSY_S * WAITING / 2
    await desk.pay(1)
    assert (await desk.account()).balance_nanos == 1
    await engine.dispose()


async def test_wrong_sql_is_not_an_outage(desk: Desk) -> None:
    """A mistake of this program is not called the database's fault, or it would be tried again for ever."""
    with pytest.raises(DBAPIError):
        async with desk.database.reading() as tx:
            await tx._connection.execute(text("SELECT nothing FROM nowhere"))


async def test_a_deadlock_is_an_outage_of_one(desk: Desk, database_url: str) -> None:
    """Where two transactions wait for each other, one goes through and the other may be tried again."""
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    await desk.create_account("bolt")
    both_hold_one = asyncio.Barrier(2)

    async def lock(first: str, second: str) -> None:
        async with desk.database.writing() as tx:
            await tx.accounts.lock(first)
            await both_hold_one.wait()
            await tx.accounts.lock(second)

    results = await asyncio.gather(lock("acme", "bolt"), lock("bolt", "acme"), return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [StorageUnavailableError]


async def test_concurrent_changes_of_one_account_lose_nothing(desk: Desk) -> None:
    """Twenty payments at once are twenty lines, numbered without gaps, and their sum."""
    await asyncio.gather(*(desk.pay(amount) for amount in range(1, 21)))
    async with desk.database.reading() as tx:
        entries = await tx.ledger.page("acme", None, 0, 100)
    assert [entry.entry_number for entry in entries] == list(range(1, 21))
    assert (await desk.account()).balance_nanos == 210


async def test_a_replica_that_cannot_see_the_database_sends_its_nodes_away(kit: Kit) -> None:
    """Not at once, but after three seconds: another replica may know of a stop that this one missed."""
    watcher = kit.feed.open("node-a", 1)
    await kit.feed.poll()
    kit.clock.advance(us=2_999_999)
    kit.feed.drop_streams()
    assert await watcher.next(0.001) is not None
    kit.clock.advance(us=1)
    kit.feed.drop_streams()
    with pytest.raises(StorageUnavailableError):
        await watcher.next(0.001)
