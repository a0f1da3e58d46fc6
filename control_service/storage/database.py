"""The control database as use cases see it: transactions, and its failures as one exception."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.errors import StorageUnavailableError
from control_service.storage.transaction import SqlTransaction
from tallygate._server.database.engine import read_only

MIGRATIONS: Final = "control_service:storage/migrations"
"""Where the revisions of the control database are."""

_log = structlog.get_logger(__name__)

# SQLSTATE classes after which the same transaction may succeed: connection, rollback by the server (serialisation,
# deadlock), resources, lock not available, operator intervention, system error, read-only (a standby).
_PASSING_CLASSES: Final = ("08", "25", "40", "53", "55", "57", "58")
_DISK_FULL: Final = "53100"


class SqlDatabase:
    """Transactions on one engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._problems: dict[str, str] = {}
        """Why the database did not answer last, by what it was asked for: with a full disk it can still be read."""

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqlTransaction]:
        """See `Database.writing`."""
        with self._failures_translated("writing"):
            async with self._engine.begin() as connection:
                yield SqlTransaction(connection)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlTransaction]:
        """See `Database.reading`."""
        with self._failures_translated("reading"):
            async with read_only(self._engine) as connection:
                yield SqlTransaction(connection)

    @contextmanager
    def _failures_translated(self, purpose: str) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeoutError, OSError) as error:
            if isinstance(error, DBAPIError) and not _may_pass(error):
                raise
            self._note(purpose, str(error))
            if isinstance(error, DBAPIError) and _is_full(error.orig):
                raise StorageUnavailableError("has no room left on its disk; make room there") from error
            raise StorageUnavailableError from error
        self._note(purpose, None)

    def _note(self, purpose: str, problem: str | None) -> None:
        """Log what changed: loops try again many times a second."""
        if problem == self._problems.get(purpose):
            return
        if problem is None:
            del self._problems[purpose]
            _log.info("control database answers again", purpose=purpose)
        else:
            self._problems[purpose] = problem
            _log.warning("control database unavailable", purpose=purpose, error=problem)


def _may_pass(error: DBAPIError) -> bool:
    """Whether the database is to blame, rather than what it was asked."""
    if error.connection_invalidated:
        return True
    if isinstance(error, IntegrityError | ProgrammingError):
        return False
    if isinstance(error.orig, sqlite3.OperationalError):
        # SQLite's code for wrong SQL, which Python's driver, too, calls an operational error.
        return _sqlite_code(error.orig) != sqlite3.SQLITE_ERROR
    state = getattr(error.orig, "sqlstate", None)
    return state is None or str(state).startswith(_PASSING_CLASSES)


def _is_full(cause: BaseException | None) -> bool:
    if isinstance(cause, sqlite3.Error):
        return _sqlite_code(cause) == sqlite3.SQLITE_FULL
    return getattr(cause, "sqlstate", None) == _DISK_FULL


def _sqlite_code(error: sqlite3.Error) -> int:
    """The primary code, without what extends it."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
