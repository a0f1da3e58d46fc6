"""The control database as use cases see it: transactions, and its failures as one exception."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import override

from control_service.domain.errors import StorageUnavailableError
from control_service.storage.glance import glance_of, query
from control_service.storage.survey import survey
from control_service.storage.transaction import SqlTransaction
from control_service.usecases.ports import Database
from control_service.usecases.pulse_ports import Glance
from control_service.usecases.survey_ports import Survey, SurveyPort
from tallygate._server.database.driver_errors import is_disk_full, is_unavailable
from tallygate._server.database.engine import outage_of, quick_reads, read_only
from tallygate._server.database.migration import explain

MIGRATIONS: Final = "control_service:storage/migrations"
"""Package and folder of the control database's revisions."""


class SqlDatabase(Database, SurveyPort):
    """Transactions on one engine."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @override
    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqlTransaction]:
        with self._failures_translated("writing"):
            async with self._engine.begin() as connection:
                yield SqlTransaction(connection)

    @override
    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqlTransaction]:
        with self._failures_translated("reading"):
            async with read_only(self._engine) as connection:
                yield SqlTransaction(connection)

    @override
    def stamp(self) -> int | None:
        return quick_reads(self._engine).stamp()

    @override
    async def glance(self) -> Glance:
        with self._failures_translated("reading"):
            (rows,) = await quick_reads(self._engine).rows(query(self._engine.dialect))
            return glance_of(rows)

    @override
    async def survey(self, now_us: int) -> Survey:
        with self._failures_translated("reading"):
            async with read_only(self._engine) as connection:
                return await survey(connection, now_us)

    @contextmanager
    def _failures_translated(self, purpose: str) -> Iterator[None]:
        """The log is told by purpose: a database on a full disk can still be read."""
        try:
            yield
        except Exception as error:
            if not is_unavailable(error):
                raise
            outage_of(self._engine).failed(purpose, problem=explain(self._engine.url, error))
            if is_disk_full(error):
                raise StorageUnavailableError("has no room left on its disk; make room there") from error
            raise StorageUnavailableError from error
        outage_of(self._engine).answered(purpose)
