"""The failures of the metering database as one exception."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.exc import DBAPIError

from metering_service.domain.errors import StorageUnavailableError
from tallygate._server.database.driver_errors import is_unavailable


@asynccontextmanager
async def database_answers() -> AsyncIterator[None]:
    """Raises StorageUnavailableError in place of errors of a database that did not answer: the outcome is not known."""
    try:
        yield
    except Exception as error:
        if not is_unavailable(error):
            raise
        problem = error.orig if isinstance(error, DBAPIError) else error
        raise StorageUnavailableError(f"The metering database does not answer ({problem}); try again.") from error
