"""Outages of the database, told from mistakes of ours."""

import sqlite3
from pathlib import Path

import asyncpg
import pytest
from asyncpg.exceptions import InterfaceError, PostgresError, _base
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from tallygate._server.database.driver_errors import is_disk_full, is_unavailable
from tallygate._server.database.engine import create_engine

UNAVAILABLE = (
    asyncpg.ConnectionDoesNotExistError("08003"),
    asyncpg.ReadOnlySQLTransactionError("25006"),
    asyncpg.IdleInTransactionSessionTimeoutError("25P03"),
    asyncpg.SerializationError("40001"),
    asyncpg.DeadlockDetectedError("40P01"),
    asyncpg.DiskFullError("53100"),
    asyncpg.TooManyConnectionsError("53300"),
    asyncpg.ObjectNotInPrerequisiteStateError("55000"),
    asyncpg.LockNotAvailableError("55P03"),
    asyncpg.AdminShutdownError("57P01"),
    asyncpg.PostgresIOError("58030"),
    InterfaceError("the connection is closed"),
    PoolTimeoutError("other writers have the database"),
    _base.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
    TimeoutError("no answer"),
    ConnectionRefusedError("nobody listens"),
)
MISTAKES = (
    asyncpg.DataError("22000"),
    asyncpg.UniqueViolationError("23505"),
    asyncpg.InFailedSQLTransactionError("25P02"),
    asyncpg.UndefinedTableError("42P01"),
    _base.DataError("invalid input for query argument $1"),
    sqlite3.OperationalError("raised by no database"),
    sqlite3.ProgrammingError("Cannot operate on a closed database."),
    sqlite3.IntegrityError("UNIQUE constraint failed"),
    ValueError("not of a database"),
)


def wrapped(error: Exception) -> DBAPIError:
    """As SQLAlchemy has asyncpg's errors: an error of its own dialect, whose cause is the driver's."""
    adapted = Exception(str(error))
    adapted.__cause__ = error
    return DBAPIError("SELECT 1", {}, adapted)


@pytest.mark.parametrize("error", UNAVAILABLE, ids=lambda error: f"{type(error).__name__}-{error}")
def test_an_outage_is_the_databases_fault(error: Exception) -> None:
    """Whether it comes from the driver itself or through SQLAlchemy."""
    assert is_unavailable(error)
    if isinstance(error, PostgresError | InterfaceError):
        assert is_unavailable(wrapped(error))


@pytest.mark.parametrize("error", MISTAKES, ids=lambda error: f"{type(error).__name__}-{error}")
def test_a_mistake_is_not_an_outage(error: Exception) -> None:
    """It would be tried again for ever."""
    assert not is_unavailable(error)
    assert not is_unavailable(wrapped(error))


async def test_what_sqlite_says_itself(tmp_path: Path) -> None:
    """Wrong SQL is a mistake; a damaged file, a locked one and a full one are outages, and a full one is told apart."""
    path = tmp_path / "some.sqlite3"
    engine = create_engine(f"sqlite:///{path}")
    with pytest.raises(DBAPIError) as wrong:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT nothing FROM nowhere"))
    with pytest.raises(DBAPIError) as full:
        async with engine.begin() as connection:
            await connection.execute(text("PRAGMA max_page_count = 1"))
            await connection.execute(text("CREATE TABLE large (content TEXT)"))
    await engine.dispose()
    path.write_bytes(b"not a database, " * 1_000)
    with pytest.raises(DBAPIError) as damaged:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))
    await engine.dispose()
    found = [(is_unavailable(caught.value), is_disk_full(caught.value)) for caught in (wrong, full, damaged)]
    assert found == [(False, False), (True, True), (True, False)]


def test_a_full_disk_is_said_by_postgresql() -> None:
    """By its SQLSTATE, through SQLAlchemy as well."""
    full = asyncpg.DiskFullError("could not extend file")
    assert is_disk_full(full)
    assert is_disk_full(wrapped(full))
    assert not is_disk_full(asyncpg.DeadlockDetectedError("deadlock detected"))


def test_a_connection_that_broke_is_an_outage() -> None:
    """Whatever the driver said when it did."""
    assert is_unavailable(DBAPIError("SELECT 1", {}, Exception("gone"), connection_invalidated=True))
