"""The real storage code on SQLite in memory, without threads: every transaction is one step that nothing interrupts."""

import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from metering_service.domain.records import CommitBatch
from metering_service.storage.writers import Names, SqliteWriter
from tallygate._server.database import create_engine, migrate

_COMPILED: dict[Any, Any] = {}
"""Statements are compiled once per process, not once per seed."""


class _Cursor:
    """An aiosqlite cursor to SQLAlchemy; it never waits."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._cursor.close()

    @property
    def description(self) -> Any:
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        return self._cursor.lastrowid

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:
        self._cursor.execute(sql, parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> Self:
        self._cursor.executemany(sql, parameters)
        return self

    async def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()

    async def fetchone(self) -> Any:
        return self._cursor.fetchone()

    async def close(self) -> None:
        self._cursor.close()


class _Connection:
    """An aiosqlite connection to SQLAlchemy; it never waits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def cursor(self) -> _Cursor:
        return _Cursor(self._connection.cursor())

    async def create_function(self, *args: Any, **options: Any) -> None:
        self._connection.create_function(*args, **options)

    async def commit(self) -> None:
        self._connection.commit()

    async def rollback(self) -> None:
        self._connection.rollback()

    async def close(self) -> None:
        """The database lives as long as the simulation."""

    def stop(self) -> None:
        """As `close`."""


class _AtomicConnection(AsyncConnection):
    """SQLAlchemy's closes itself in a task of its own, and others would get in between."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _AtomicEngine(AsyncEngine):
    _connection_cls = _AtomicConnection


class SimulatedDatabase:
    """One database: an engine for the real storage code, and copies of it as a backup would make them."""

    def __init__(self, migrations: str) -> None:
        self._raw = sqlite3.connect(":memory:", isolation_level=None)
        self._raw.deserialize(_template(migrations))
        self.writes = 0

        async def creator(*_: Any, **__: Any) -> _Connection:
            return _Connection(self._raw)

        engine = create_async_engine(
            "sqlite+aiosqlite://",
            async_creator=creator,
            poolclass=StaticPool,
            execution_options={"compiled_cache": _COMPILED},
        ).sync_engine
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "commit", self._count)
        self.engine: AsyncEngine = _AtomicEngine(engine)

    def writer(self) -> "InlineWriter":
        """What writes a node's group commits, at once."""
        return InlineWriter(self)

    def written(self) -> None:
        """Something was."""
        self.writes += 1

    def copy(self) -> bytes:
        """A backup."""
        return self._raw.serialize()

    def restore(self, copy: bytes) -> None:
        """From here on the database is what it was when that copy was made."""
        # Into the database that is there: SQLite crashes where one that has used json_each is replaced by another.
        with closing(sqlite3.connect(":memory:")) as backup:
            backup.deserialize(copy)
            backup.backup(self._raw)

    def rows(self, query: str, *parameters: Any) -> list[sqlite3.Row]:
        """What a checker wants to see, from outside."""
        cursor = self._raw.cursor()
        cursor.row_factory = sqlite3.Row
        return cursor.execute(query, parameters).fetchall()

    def close(self) -> None:
        """Free the memory."""
        self._raw.close()

    def _begin(self, connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _count(self, connection: Connection) -> None:
        self.written()


class InlineWriter(SqliteWriter):
    """The real one, without its thread, on the one connection that there is."""

    def __init__(self, database: SimulatedDatabase) -> None:
        super().__init__(lambda: database._raw)
        self._database = database

    async def write(self, node: str, epoch: int, batch: CommitBatch, names: Names) -> None:
        """See `Writer`."""
        self.write_now(node, epoch, batch, names)
        self._database.written()

    def _let_go(self) -> None:
        """The database lives as long as the simulation."""


@cache
def _template(migrations: str) -> bytes:
    """An empty database at the newest revision: the migrations run once per process, not once per seed."""
    import asyncio  # noqa: PLC0415  # a real loop, once, before any simulation

    with tempfile.TemporaryDirectory(prefix="tallygate-simulation-") as directory:
        path = Path(directory) / "template.sqlite3"

        async def make() -> None:
            engine = create_engine(f"sqlite:///{path}")
            await migrate(engine, migrations, "simulation")
            await engine.dispose()

        asyncio.run(make())
        connection = sqlite3.connect(path)
        # A database in memory knows no write-ahead log.
        connection.execute("PRAGMA journal_mode = DELETE")
        copy = connection.serialize()
        connection.close()
        return copy
