"""The control service's storage on SQLite in memory, without threads: a transaction is done when it is asked for."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Self, cast

from sqlalchemy import Connection, Engine, StaticPool, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import override

from control_service.storage.database import MIGRATIONS, SqlDatabase
from control_service.storage.glance import glance_of, query
from control_service.usecases.pulse_ports import Glance
from tallygate._server.database import engine as files

_URL = "sqlite://"


class MemoryDatabase(SqlDatabase):
    """A control database of its own, put back to `template` with each instance."""

    def __init__(self, template: bytes) -> None:
        self._raw = sqlite3.connect(":memory:", isolation_level=None)
        self._raw.deserialize(template)
        options = {"compiled_cache": _COMPILED}
        self._real = create_engine(_URL, creator=lambda: self._raw, poolclass=StaticPool, execution_options=options)
        super().__init__(cast("AsyncEngine", _Engine(self._real, self._raw)))

    @override
    def stamp(self) -> int:
        return self._raw.total_changes

    @override
    async def glance(self) -> Glance:
        return glance_of(self._raw.execute(query(self._real.dialect)).fetchall())

    def close(self) -> None:
        """Frees the memory."""
        self._real.dispose()
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


class _Engine:
    """SQLAlchemy's AsyncEngine, as far as the storage uses it."""

    def __init__(self, engine: Engine, raw: sqlite3.Connection) -> None:
        self.dialect = engine.dialect
        self._connection = _Connection(engine.connect(), raw)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[_Connection]:
        yield self._connection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[_Connection]:
        async with self._connection.begin():
            yield self._connection


class _Connection:
    """SQLAlchemy's AsyncConnection, likewise. It never waits, and needs no greenlet."""

    def __init__(self, connection: Connection, raw: sqlite3.Connection) -> None:
        self.dialect = connection.dialect
        self._connection = connection
        self._raw = raw

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Self]:
        self._raw.execute("BEGIN IMMEDIATE")
        try:
            yield self
        except BaseException:
            self._raw.execute("ROLLBACK")
            raise
        self._raw.execute("COMMIT")

    async def execution_options(self, **_: Any) -> None:
        """Whoever only reads may as well lock: nobody waits."""

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.execute(statement, parameters)

    async def scalar(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.scalar(statement, parameters)

    async def scalars(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.scalars(statement, parameters)
