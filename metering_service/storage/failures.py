"""The failures of the metering database as one exception."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.errors import StorageUnavailableError
from tallygate._server.database.driver_errors import is_unavailable
from tallygate._server.database.engine import outage_of
from tallygate._server.database.migration import explain


@asynccontextmanager
async def database_answers(engine: AsyncEngine, purpose: str = "reading") -> AsyncIterator[None]:
    """Raises StorageUnavailableError in place of errors of a database that did not answer: the outcome is not known.

    `purpose`: for which the log is told of it; a database on a full disk can still be read.
    """
    try:
        yield
    except Exception as error:
        if not is_unavailable(error):
            raise
        problem = error.orig if isinstance(error, DBAPIError) else error
        outage_of(engine).failed(purpose, problem=explain(engine.url, error))
        raise StorageUnavailableError(f"The metering database does not answer ({problem}); try again.") from error
    outage_of(engine).answered(purpose)
