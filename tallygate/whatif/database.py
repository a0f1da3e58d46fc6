"""The control service's storage on SQLite in memory, without threads: a transaction is done when it is asked for."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, StaticPool, create_engine
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

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
        options = {"compiled_cache": _COMPILED}
        self._engine = create_engine(_URL, creator=lambda: self._raw, poolclass=StaticPool, execution_options=options)
        self._connection = cast("AsyncConnection", _Connection(self._engine.connect()))

    @override
    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqlTransaction]:
        self._raw.execute("BEGIN IMMEDIATE")
        try:
            yield SqlTransaction(self._connection)
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
