"""The control service's storage on SQLite in memory, without threads: a transaction is done when it is asked for."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, StaticPool, create_engine
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.reservation import Reservation
from control_service.domain.service import Service
from control_service.storage.batch_rows import BatchRows
from control_service.storage.database import MIGRATIONS
from control_service.storage.glance import glance_of, query
from control_service.storage.transaction import SqlTransaction
from control_service.usecases.ports import Database
from control_service.usecases.pulse_ports import Glance
from tallygate._server.database import engine as files

_URL = "sqlite://"


class MemoryDatabase(Database):
    """A control database of its own, which begins as `template`."""

    def __init__(self, template: bytes) -> None:
        self._raw = sqlite3.connect(":memory:", isolation_level=None)
        self._raw.deserialize(template)
        # Rows are read by names, not by columns.
        options = {"compiled_cache": _COMPILED, "_result_disable_adapt_to_context": True}
        self._engine = create_engine(_URL, creator=lambda: self._raw, poolclass=StaticPool, execution_options=options)
        self._connection = cast("AsyncConnection", _Connection(self._engine.connect()))
        self._reservations: dict[str, list[Reservation]] = {}

    @override
    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqlTransaction]:
        self._raw.execute("BEGIN IMMEDIATE")
        try:
            yield _Transaction(self._connection, self._reservations)
        except BaseException:
            self._raw.execute("ROLLBACK")
            raise
        self._raw.execute("COMMIT")

    @override
    def reading(self) -> AbstractAsyncContextManager[SqlTransaction]:
        # Whoever only reads may as well lock: nobody waits.
        return self.writing()

    @override
    def stamp(self) -> int:
        return self._raw.total_changes

    @override
    async def glance(self) -> Glance:
        return glance_of(self._raw.execute(query(self._engine.dialect)).fetchall())

    def close(self) -> None:
        """Frees the memory."""
        self._engine.dispose()
        self._raw.close()


_COMPILED: dict[Any, Any] = {}
"""Statements as they were compiled once, for all databases of this process."""


async def empty_template() -> bytes:
    """An empty control database at its newest revision."""
    with tempfile.TemporaryDirectory(prefix="tallygate-what-if-") as directory:
        path = Path(directory) / "control.sqlite3"
        engine = files.create_engine(f"sqlite:///{path}")
        await files.migrate(engine, MIGRATIONS, "what-if")
        await engine.dispose()
        with closing(sqlite3.connect(path)) as connection:
            # A database in memory has no write-ahead log.
            connection.execute("PRAGMA journal_mode = DELETE")
            return connection.serialize()


class _Transaction(SqlTransaction):
    """A transaction that has read before which reservations there are."""

    def __init__(self, connection: AsyncConnection, reservations: dict[str, list[Reservation]]) -> None:
        super().__init__(connection)
        self.batches = _Batches(connection, reservations)


class _Batches(BatchRows):
    """Reads the reservations of a service once: all are bought before its first lease, and none is cancelled."""

    def __init__(self, connection: AsyncConnection, known: dict[str, list[Reservation]]) -> None:
        super().__init__(connection)
        self._known = known

    @override
    async def reservations(self, services: Collection[Service], now_us: int) -> dict[str, list[Reservation]]:
        new = [service for service in services if service.uid not in self._known]
        if new:
            found = await super().reservations(new, now_us)
            self._known.update({service.uid: found.get(service.uid, []) for service in new})
        active = {service.uid: [one for one in self._known[service.uid] if one.active(now_us)] for service in services}
        return {uid: some for uid, some in active.items() if some}


class _Connection:
    """SQLAlchemy's AsyncConnection, as far as the storage uses it. It never waits, and needs no greenlet."""

    def __init__(self, connection: Connection) -> None:
        self.dialect = connection.dialect
        self._connection = connection

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.execute(statement, parameters)

    async def scalar(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.scalar(statement, parameters)

    async def scalars(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.scalars(statement, parameters)
