"""Databases as both services use them: engines for SQLite and PostgreSQL with the same meaning of a transaction."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event, make_url
from sqlalchemy.exc import TimeoutError as WriterTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from typing_extensions import override

from tallygate._server.database.migration import explain, migrate
from tallygate._server.database.postgres_engine import PostgresEngine
from tallygate._server.database.quick_reads import QuickReads, SqliteReads
from tallygate._server.database.sqlite_file import SqliteFile
from tallygate._server.database.url import POSTGRESQL, normalise_url
from tallygate._server.errors import DatabaseError
from tallygate._server.outage import Outage

__all__ = ["create_engine", "migrate", "outage_of", "quick_reads", "read_only", "sqlite_connector", "sqlite_file"]

BUSY_TIMEOUT_S: Final = 10
BUSY_POLL_S: Final = 0.01
CONNECTION_COUNT: Final = 8
"""Number of connections that a program has to PostgreSQL at most, unless it says another."""

_READ_ONLY: Final = "tallygate_read_only"


def create_engine(
    url: str, connection_count: int = CONNECTION_COUNT, *, wanted: str = "read-write", name: str = "database"
) -> AsyncEngine:
    """An engine whose transactions mean the same on both databases.

    `connection_count`: how many connections it has to PostgreSQL at most. `wanted`: which host it takes, as a URL says
    by `target_session_attrs`, where the URL does not say it. `name`: what the log calls it when it does not answer.

    `engine.begin()` is for writing: on SQLite it takes the write lock at once and waits for it up to 10 s, so that no
    transaction fails half-way; on PostgreSQL rows are locked by SELECT ... FOR UPDATE. `read_only` is for reading.
    Both raise FileMovedError, an OSError, while the path of a SQLite database does not name the file that was opened.

    Raises:
        ConfigurationError: see `normalise_url`.
        DatabaseError: the SQLite file cannot be opened, or its directory cannot be made.
    """
    parsed = make_url(normalise_url(url))
    if parsed.drivername == POSTGRESQL:
        return PostgresEngine(parsed, connection_count, wanted=wanted, name=name)
    _make_directory(parsed)
    engine = create_async_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True).sync_engine
    file = _open_once(engine)
    # SQLite would make a new file where there is none.
    event.listen(engine, "do_connect", lambda *_: file.check())
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return _SqliteEngine(engine, file)


class _SqliteEngine(AsyncEngine):
    """Lets the writers of this process queue up for the one write lock, each for so long as it would wait for a file.

    Left to SQLite they would poll for it, in no order and up to 100 ms apart: with eight writers one in a hundred
    waited 230 ms for transactions of 2 ms each. Only writers of different processes still have to.
    """

    def __init__(self, sync_engine: Engine, file: SqliteFile) -> None:
        super().__init__(sync_engine)
        self.file = file
        self.outage = Outage("database")
        self.quick_reads: QuickReads = SqliteReads(sqlite_connector(self), file)
        self._writer = asyncio.Lock()

    @override
    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """See `create_engine`. Raises sqlalchemy's TimeoutError where others keep the lock for too long."""
        try:
            async with asyncio.timeout(BUSY_TIMEOUT_S):
                await self._writer.acquire()
        except TimeoutError as error:
            msg = "other writers of this program have kept the database locked for too long"
            raise WriterTimeoutError(msg) from error
        try:
            self.file.check()
            async with super().connect() as connection:
                async with connection.begin():
                    yield connection
                self.file.check_used()
        finally:
            self._writer.release()

    @override
    async def dispose(self, close: bool = True) -> None:  # as AsyncEngine has it
        """Close all connections; the next one may begin another write-ahead log."""
        self.quick_reads.close()
        await super().dispose(close)
        self.file.closed()


@asynccontextmanager
async def read_only(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees one moment of the database, takes no lock and keeps no writer waiting."""
    if isinstance(engine, _SqliteEngine):
        engine.file.check()
    async with _reader(engine), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        else:
            await connection.execution_options(**{_READ_ONLY: True})
        async with connection.begin():
            yield connection
        if isinstance(engine, _SqliteEngine):
            engine.file.check_used()


def _reader(engine: AsyncEngine) -> AbstractAsyncContextManager[None]:
    return engine.reader() if isinstance(engine, PostgresEngine) else nullcontext()


def quick_reads(engine: AsyncEngine) -> QuickReads:
    """Small reads beside the engine's pool; `dispose` closes their connections, too."""
    assert isinstance(engine, _SqliteEngine | PostgresEngine)
    return engine.quick_reads


def outage_of(engine: AsyncEngine) -> Outage:
    """Where is said how it goes with the engine's database."""
    outage: Outage = engine.outage  # type: ignore[attr-defined]  # both engines have one
    return outage


def sqlite_connector(engine: AsyncEngine) -> Callable[[], sqlite3.Connection]:
    """Opens connections to the engine's SQLite file, set up in the same way, for code that needs no engine.

    They may be handed from thread to thread, and leave transactions to their users, as they do `sqlite_file(engine)`.
    """
    (path, *_), options = engine.dialect.create_connect_args(engine.url)

    def connect() -> sqlite3.Connection:
        sqlite_file(engine).check()
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, uri="uri" in options
        )
        _prepare_sqlite(connection, None)
        return connection

    return connect


def sqlite_file(engine: AsyncEngine) -> SqliteFile:
    """What tells whether the path of the engine's SQLite database still names the file that was opened."""
    assert isinstance(engine, _SqliteEngine)
    return engine.file


def _make_directory(url: URL) -> None:
    if url.database is None or url.database.startswith("file:"):
        return
    directory = Path(url.database).parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f'The directory "{directory}" cannot be made ({error.strerror}); make it, or name another.'
        raise DatabaseError(msg) from error


def _open_once(engine: Engine) -> SqliteFile:
    # A file that cannot be opened is said here: the driver would leave a thread behind that may still write a traceback
    # while the program ends with its sentence.
    (path, *_), options = engine.dialect.create_connect_args(engine.url)
    try:
        with closing(sqlite3.connect(path, timeout=0, uri="uri" in options)) as connection:
            _write_ahead(connection)
            # What SQLite makes of a URI; else the path as it was given, which may lead to the file by links.
            (_, _, found) = connection.execute("PRAGMA database_list").fetchone()
            return SqliteFile(Path(found if "uri" in options else path))
    except sqlite3.Error as error:
        raise DatabaseError(explain(engine.url, error)) from error


def _write_ahead(connection: sqlite3.Connection) -> None:
    # WAL lets readers go on while one writes, and stays with the file. Of several programs that turn one new file to it
    # SQLite refuses all but one at once, whatever their timeout, and it refuses them while another program writes.
    give_up_at = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > give_up_at:
                raise
            time.sleep(BUSY_POLL_S)
        else:
            return


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver would begin transactions by itself, too late and without the lock; `_begin_sqlite` does it instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        # FULL, because what was called durable must survive a power cut.
        for pragma in ("synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()  # The pool has not taken it yet and would just drop it.
        raise
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
