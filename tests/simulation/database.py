"""The real storage code on SQLite in memory, without threads: every transaction is one step that nothing interrupts."""

import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Dialect, Engine, StaticPool, create_engine, make_url

from metering_service.domain.records import CommitBatch
from metering_service.storage import SqlRecorder
from metering_service.storage.fenced_commit import KeptFinishes, Names, SqliteWriter
from tallygate._server.database import engine as product
from tallygate._server.database.quick_reads import Rows
from tallygate._server.outage import Outage

URL = "sqlite://"
_OPTIONS = {"compiled_cache": {}, "_result_disable_adapt_to_context": True}
"""Statements are compiled once per process, not once per seed; and rows are read by names, not by columns."""


class _Transaction:
    """A connection within a transaction."""

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection

    async def __aenter__(self) -> "_Connection":
        self._connection.database.raw.execute("BEGIN IMMEDIATE")
        return self._connection

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        database = self._connection.database
        if kind is not None:
            database.raw.rollback()
            return
        database.raw.execute("COMMIT")
        database.on_commit()


class _Connection:
    """As the services use SQLAlchemy's AsyncConnection. It never waits, and needs no greenlet, so it costs a third."""

    sync_connection = None
    """No query goes around it."""

    def __init__(self, database: "SimulatedDatabase", connection: Connection) -> None:
        self.database = database
        self.dialect = connection.dialect
        self._connection = connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """The database lives as long as the simulation."""

    def begin(self) -> _Transaction:
        return _Transaction(self)

    async def execution_options(self, **_: Any) -> None:
        """Who only reads may as well lock: nobody waits."""

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.execute(statement, parameters)

    async def scalar(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.scalar(statement, parameters)

    async def scalars(self, statement: Any, parameters: Any = None) -> Any:
        return self._connection.scalars(statement, parameters)


class _Engine:
    """As the services use SQLAlchemy's AsyncEngine."""

    def __init__(self, connection: _Connection) -> None:
        self.dialect = connection.dialect
        self.outage = Outage("database")
        self._connection = connection

    def connect(self) -> _Connection:
        return self._connection

    def begin(self) -> _Transaction:
        return self._connection.begin()


class SimulatedDatabase:
    """One database: an engine for the real storage code, and copies of it as a backup would make them.

    `on_commit`: is called after every transaction, also of one who only read.
    """

    def __init__(self, migrations: str, on_commit: Callable[[], None]) -> None:
        self.on_commit = on_commit
        self.raw = sqlite3.connect(":memory:", isolation_level=None)
        self.raw.deserialize(_template(migrations))
        self._restored = 0
        pool = StaticPool(lambda: self.raw)  # type: ignore[arg-type]  # its protocol is wider than its use
        self._real = Engine(pool, _dialect(), make_url(URL), execution_options=_OPTIONS)
        # One connection, in one transaction as SQLAlchemy has it; where those of the services begin and end is ours.
        self.engine: Any = _Engine(_Connection(self, self._real.connect()))

    @cached_property
    def writer(self) -> "InlineWriter":
        """What writes all nodes' group commits, at once."""
        return InlineWriter(self)

    @property
    def dialect(self) -> Dialect:
        """As the engine's."""
        return _dialect()

    @property
    def changes(self) -> int:
        """Another number whenever something may have been changed."""
        return self.raw.total_changes + self._restored

    @property
    def restored(self) -> int:
        """How often it was put back to an older copy."""
        return self._restored

    def copy(self) -> bytes:
        """A backup."""
        return self.raw.serialize()

    def restore(self, copy: bytes) -> None:
        """From here on the database is what it was when that copy was made."""
        # Into the database that is there: SQLite crashes where one that has used json_each is replaced by another.
        with closing(sqlite3.connect(":memory:")) as backup:
            backup.deserialize(copy)
            backup.backup(self.raw)
        self._restored += 1

    def rows(self, query: str, *parameters: Any) -> list[sqlite3.Row]:
        """What a checker wants to see, from outside."""
        cursor = self.raw.cursor()
        cursor.row_factory = sqlite3.Row
        return cursor.execute(query, parameters).fetchall()

    def close(self) -> None:
        """Free the memory."""
        self._real.dispose()
        self.raw.close()


class InlineRecorder(SqlRecorder):
    """The real one, whose quick reads are done at once, on the one connection that there is."""

    def __init__(self, database: SimulatedDatabase, new_id: Callable[[], str]) -> None:
        super().__init__(database.engine, new_id, database.writer)
        self._database = database

    async def _read_quickly(self, query: str, *values: Any) -> Rows:
        found = self._database.raw.execute(query, values).fetchall()
        self._database.on_commit()
        return found


class InlineWriter(SqliteWriter):
    """The real one, without its thread, on the one connection that there is."""

    def __init__(self, database: SimulatedDatabase) -> None:
        super().__init__(lambda: database.raw)
        self._database = database

    async def write(self, node: str, epoch: int, batch: CommitBatch, names: Names) -> KeptFinishes:
        """Write at once, in the one thread that there is."""
        kept = self.write_now(node, epoch, batch, names)
        self._database.on_commit()
        return kept

    def _let_go(self) -> None:
        """The database lives as long as the simulation."""


@cache
def _dialect() -> Dialect:
    """The same for all engines, as compiled statements are kept by dialect."""
    engine = create_engine(URL)
    engine.connect().close()
    return engine.dialect


@cache
def _template(migrations: str) -> bytes:
    """An empty database at the newest revision: the migrations run once per process, not once per seed."""
    import asyncio  # noqa: PLC0415  # a real loop, once, before any simulation

    with tempfile.TemporaryDirectory(prefix="tallygate-simulation-") as directory:
        path = Path(directory) / "template.sqlite3"

        async def make() -> None:
            engine = product.create_engine(f"sqlite:///{path}")
            await product.migrate(engine, migrations, "simulation")
            await engine.dispose()

        asyncio.run(make())
        connection = sqlite3.connect(path)
        # A database in memory knows no write-ahead log.
        connection.execute("PRAGMA journal_mode = DELETE")
        copy = connection.serialize()
        connection.close()
        return copy
