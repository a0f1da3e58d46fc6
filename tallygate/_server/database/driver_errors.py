"""Which errors of a driver say that the database does not answer; all others are mistakes of ours and surface."""

import sqlite3
from typing import Final

from asyncpg.exceptions import InterfaceError, InternalClientError, PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

DRIVER_ERRORS: Final = (DBAPIError, sqlite3.Error, PostgresError, InterfaceError, InternalClientError, OSError)
"""Errors of a database that fails: the drivers' own, and SQLAlchemy's for them."""
_POSTGRESQL_UNAVAILABLE: Final = ("08", "25006", "25P03", "25P04", "40", "53", "55", "57", "58")
"""By SQLSTATE: connection, read-only after a failover, frozen, too slow, rolled back, resources, locked, operator,
system."""
_POSTGRESQL_DISK_FULL: Final = "53100"


def is_unavailable(error: BaseException) -> bool:
    """Whether the database is to blame, rather than what it was asked: the same transaction may succeed later.

    Takes what SQLAlchemy raises as well as what sqlite3 and asyncpg raise by themselves.
    """
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or is_unavailable(_cause_of(error))
    if isinstance(error, sqlite3.OperationalError):
        # SQLite's code for wrong SQL, which Python's driver, too, calls an operational error.
        return _sqlite_code(error) != sqlite3.SQLITE_ERROR
    if isinstance(error, PostgresError):
        return (getattr(error, "sqlstate", None) or "").startswith(_POSTGRESQL_UNAVAILABLE)
    is_damaged_file = type(error) is sqlite3.DatabaseError
    # asyncpg's for a value that no row can have is a ValueError, too.
    is_closed_connection = isinstance(error, InterfaceError) and not isinstance(error, ValueError)
    # asyncpg's own state is at odds with the server's, as where it is cut off before its first statement.
    is_broken_connection = isinstance(error, InternalClientError)
    is_lost = is_damaged_file or is_closed_connection or is_broken_connection
    return is_lost or isinstance(error, OSError | PoolTimeoutError)


def is_disk_full(error: BaseException) -> bool:
    """Whether the database has no room left on its disk."""
    cause = _cause_of(error) if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _sqlite_code(cause) == sqlite3.SQLITE_FULL
    return getattr(cause, "sqlstate", None) == _POSTGRESQL_DISK_FULL


def _cause_of(error: DBAPIError) -> BaseException:
    """The driver's own error: SQLAlchemy has those of asyncpg as errors of its own, whose causes they are."""
    found = error.orig or error
    return (
        found.__cause__ if isinstance(found.__cause__, PostgresError | InterfaceError | InternalClientError) else found
    )


def _sqlite_code(error: sqlite3.Error) -> int:
    """The primary code, without what extends it; an error that the database did not raise counts as wrong SQL."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
