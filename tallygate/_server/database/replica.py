"""A copy of the database for reading: it is asked where it has all that the database had committed, else it is left.

So an answer from it is never older than one from the database, and what reads there needs to know nothing of it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tallygate._server.database.driver_errors import DRIVER_ERRORS
from tallygate._server.database.engine import outage_of, quick_reads, read_only
from tallygate._server.database.migration import explain

LAG_MAX_S: Final = 1.0
"""Maximum time that a reader waits for the copy."""
_POLL_S: Final = 0.02
_COMMITTED: Final = "SELECT pg_current_wal_flush_lsn()::text"
_HAS: Final = text("SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= CAST(CAST(:place AS text) AS pg_lsn)")
_ASKS: Final = "asking whether it is up to date"


class Replica:
    """A streaming copy of one database, by an engine of its own."""

    def __init__(self, database: AsyncEngine, copy: AsyncEngine) -> None:
        self._database = database
        self._copy = copy

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """As `read_only` of the database, from the copy if it is up to date.

        Raises what the driver raises where the database itself does not answer.
        """
        ((place,),) = (await quick_reads(self._database).rows(_COMMITTED))[0]
        engine = self._copy if await self._has(place) else self._database
        async with read_only(engine) as connection:
            yield connection

    async def _has(self, place: str) -> bool:
        """Whether the copy has all up to that place of the log, or gets it soon."""
        try:
            async with asyncio.timeout(LAG_MAX_S):
                while not await self._has_now(place):  # noqa: ASYNC110  # only a query tells
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            outage_of(self._copy).failed(_ASKS, problem=f"it is more than {LAG_MAX_S:g} s behind the database")
            return False
        except (SQLAlchemyError, *DRIVER_ERRORS) as error:
            outage_of(self._copy).failed(_ASKS, problem=explain(self._copy.url, error))
            return False
        outage_of(self._copy).answered(_ASKS)
        return True

    async def _has_now(self, place: str) -> bool:
        # In a transaction of its own: the one that reads must begin after it.
        async with read_only(self._copy) as connection:
            return bool((await connection.execute(_HAS, {"place": place})).scalar_one())


def reading_of(engine: AsyncEngine, replica: Replica | None) -> AbstractAsyncContextManager[AsyncConnection]:
    """A transaction that reads, from the replica if there is one."""
    return read_only(engine) if replica is None else replica.reading()
