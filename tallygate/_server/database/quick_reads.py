"""Small reads that come again and again, on connections of their own: no pool, no transaction around each.

Through the engine a read of one row takes 0.5 to 0.8 ms of processor, of which next to nothing is the database's. Here
it takes 0.1 ms on SQLite and 0.05 ms on PostgreSQL, and on SQLite it costs some 5 us to find that nothing has changed.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import Any, Protocol, TypeAlias

from asyncpg import Connection
from asyncpg.exceptions import ReadOnlySQLTransactionError
from sqlalchemy.ext.asyncio import AsyncEngine
from typing_extensions import override

from tallygate._server.database.driver_errors import DRIVER_ERRORS
from tallygate._server.database.postgres_connect import is_pooled
from tallygate._server.database.sqlite_file import SqliteFile

Rows: TypeAlias = list[tuple[Any, ...]]
Query: TypeAlias = tuple[str, Sequence[Any]]
"""A query and its values."""


class QuickReads(Protocol):
    """Of one engine, and closed with it. A failure raises what the driver raises, and the next read begins anew."""

    def stamp(self) -> int | None:
        """Another number whenever anything was committed, by whichever program; None where only a query can tell.

        Of a file that was moved away as well: that it is gone is told by the next read.
        """

    async def rows(self, *queries: str) -> list[Rows]:
        """The rows of each query. Each sees what was committed before it; together they are no transaction."""
        return await self._ask([(query, ()) for query in queries])

    async def found(self, query: str, values: Sequence[Any]) -> Rows:
        """The rows of a query that has a place for each of the values, as the driver marks places.

        On PostgreSQL it may as well be a statement that writes and returns rows: it is its own transaction.
        """
        (rows,) = await self._ask([(query, values)])
        return rows

    async def _ask(self, queries: Sequence[Query]) -> list[Rows]:
        """As `rows`."""
        raise NotImplementedError

    async def answer(self) -> None:
        """Returns if the database answers, and can do what it is for."""

    def close(self) -> None:
        """Closes its connections; the next read opens others."""


class SqliteReads(QuickReads):
    """Reads on a thread of its own; `stamp`, which reads only memory that SQLite shares between programs, at once."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], file: SqliteFile) -> None:
        self._connect = connect
        self._file = file
        # A stamp never waits for a read, so they have a connection each.
        self._stamps: sqlite3.Connection | None = None
        self._reads: sqlite3.Connection | None = None
        self._opened = 0
        # Those of the event loop look up names, for one, which may keep all of them for many seconds.
        self._thread = ThreadPoolExecutor(1, "quick-reads")
        # Of the thread while it reads: it goes on though nobody waits for its answer any more.
        self._in_use = threading.Lock()

    @override
    def stamp(self) -> int | None:
        try:
            if self._stamps is None:
                self._stamps = self._connect()
                self._stamps.execute("PRAGMA busy_timeout = 0")
                self._opened += 1
            ((version,),) = self._stamps.execute("PRAGMA data_version").fetchall()
        except (sqlite3.Error, OSError):
            # The query that follows says what is wrong.
            self._close_stamps()
            return None
        # Each connection counts from where it began.
        return (self._opened << 32) + int(version)

    @override
    async def _ask(self, queries: Sequence[Query]) -> list[Rows]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, queries)

    @override
    async def answer(self) -> None:
        self._file.check()
        if self.stamp() is None:
            await self.rows("SELECT 1")

    @override
    def close(self) -> None:
        self._close_stamps()
        reads, self._reads = self._reads, None
        # One that a thread reads from is closed by that thread.
        if reads is not None and self._in_use.acquire(blocking=False):
            try:
                reads.close()
            finally:
                self._in_use.release()

    def _close_stamps(self) -> None:
        if self._stamps is not None:
            self._stamps.close()
            self._stamps = None

    def _read(self, queries: Sequence[Query]) -> list[Rows]:
        with self._in_use:
            return self._rows(queries)

    def _rows(self, queries: Sequence[Query]) -> list[Rows]:
        self._file.check()
        connection = self._reads = self._reads or self._connect()
        try:
            found: list[Rows] = [connection.execute(query, values).fetchall() for query, values in queries]
            self._file.check_used()
        except (sqlite3.Error, OSError):
            self._reads = None
            raise
        finally:
            if self._reads is not connection:
                connection.close()
        return found


class PostgresReads(QuickReads):
    """Reads one after the other on one connection, each its own transaction, so that poolers may share it."""

    def __init__(self, engine: AsyncEngine, *, may_be_read_only: bool) -> None:
        self._engine = engine
        self._may_be_read_only = may_be_read_only
        self._connection: Connection | None = None
        self._reading = asyncio.Lock()

    @override
    def stamp(self) -> int | None:
        return None

    @override
    async def _ask(self, queries: Sequence[Query]) -> list[Rows]:
        async with self._reading:
            try:
                # Whoever closes it meanwhile leaves the read its own, whose error says that it is closed.
                connection = self._connection = self._connection or await self._connect()
                # By a pooler a statement lives no longer than its transaction.
                async with connection.transaction() if is_pooled(connection) else nullcontext():
                    return [[tuple(row) for row in await connection.fetch(query, *values)] for query, values in queries]
            except BaseException:
                # Also where nobody waits for the answer any more: it would be the next query's.
                self.close()
                raise

    @override
    async def answer(self) -> None:
        try:
            (((is_read_only,),),) = await self.rows("SELECT current_setting('transaction_read_only') = 'on'")
            if is_read_only and not self._may_be_read_only:
                raise ReadOnlySQLTransactionError("this server is read-only")
        except DRIVER_ERRORS:
            # Those of the pool are no better, and a server that was the leader once would go on answering old things.
            await self._engine.dispose()
            raise

    @override
    def close(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.terminate()
            self._connection = None

    async def _connect(self) -> Connection:
        """A connection as the engine makes them, which its pool then forgets."""
        connection = await self._engine.connect()
        pooled = await connection.get_raw_connection()
        driver: Connection = pooled.driver_connection  # type: ignore[assignment]  # SQLAlchemy knows no driver
        pooled.detach()
        return driver
