"""The control database as use cases see it: transactions, and its failures as one exception."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.errors import StorageUnavailableError
from control_service.storage.transaction import SqlTransaction
from tallygate._server.database import read_only

MIGRATIONS: Final = "control_service:storage/migrations"
"""Where the revisions of the control database are."""

_log = structlog.get_logger(__name__)

# SQLSTATE classes after which the same transaction may succeed: connection, rollback by the server (serialisation,
# deadlock), resources, lock not available, operator intervention, read-only (a standby).
_PASSING_CLASSES: Final = ("08", "25", "40", "53", "55", "57")


class SqlDatabase:
    """Transactions on one engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqlTransaction]:
        """See `Database.writing`."""
        with _failures_translated():
            async with self._engine.begin() as connection:
                yield SqlTransaction(connection)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlTransaction]:
        """See `Database.reading`."""
        with _failures_translated():
            async with read_only(self._engine) as connection:
                yield SqlTransaction(connection)


@contextmanager
def _failures_translated() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        if isinstance(error, DBAPIError) and not _may_pass(error):
            raise
        _log.warning("control database unavailable", error=str(error))
        raise StorageUnavailableError from error


def _may_pass(error: DBAPIError) -> bool:
    """Whether the database is to blame, rather than what it was asked."""
    if isinstance(error, IntegrityError | ProgrammingError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    return state is None or str(state).startswith(_PASSING_CLASSES)
