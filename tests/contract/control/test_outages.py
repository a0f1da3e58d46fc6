"""A database that does not answer, and transactions that get into each other's way."""

import asyncio
from pathlib import Path

import pytest

from control_service.domain.errors import StorageUnavailableError
from control_service.storage.database import SqlDatabase
from tallygate._server.database import create_engine
from tests.contract.control.desk import Desk


async def test_no_server_is_unavailable() -> None:
    """Nobody listens there: whoever calls is told to try again, not that the program has a bug."""
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
    path.write_bytes(b"not a database, " * 1_000)
    engine = create_engine(f"sqlite:///{path}")
    with pytest.raises(StorageUnavailableError):
        async with SqlDatabase(engine).reading() as tx:
            await tx.config_version()
    await engine.dispose()


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
