"""Which of a driver's errors say that the database does not answer; all others are mistakes of ours and surface."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asyncpg.exceptions import DataError, InterfaceError, PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from metering_service.domain.errors import StorageUnavailableError

_SQLITE_MISTAKE = sqlite3.SQLITE_ERROR
"""SQLite's code for wrong SQL, which Python's driver, too, calls an operational error."""

_POSTGRESQL_AWAY = ("08", "25006", "25P03", "40", "53", "55P03", "57", "58")
"""By SQLSTATE: connection, read-only after a failover, frozen, rolled back, resources, locked, operator, system."""


@asynccontextmanager
async def database_answers() -> AsyncIterator[None]:
    """Raises StorageUnavailableError in place of errors of a database that did not answer: the outcome is not known."""
    try:
        yield
    except DBAPIError as error:
        if not _is_away(error):
            raise
        raise StorageUnavailableError(f"The metering database does not answer ({error.orig}); try again.") from error
    except sqlite3.OperationalError as error:
        if _is_mistake(error):
            raise
        raise StorageUnavailableError(f"The metering database does not answer ({error}); try again.") from error
    except DataError:
        raise  # A value that no row can have: a mistake of ours.
    except PostgresError as error:
        if not getattr(error, "sqlstate", "").startswith(_POSTGRESQL_AWAY):
            raise
        raise StorageUnavailableError(f"The metering database does not answer ({error}); try again.") from error
    except (OSError, PoolTimeout, InterfaceError) as error:
        raise StorageUnavailableError(f"The metering database does not answer ({error}); try again.") from error


def _is_away(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    driver = error.orig
    if isinstance(driver, sqlite3.OperationalError):
        return not _is_mistake(driver)
    return (getattr(driver, "sqlstate", None) or "").startswith(_POSTGRESQL_AWAY)


def _is_mistake(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == _SQLITE_MISTAKE
