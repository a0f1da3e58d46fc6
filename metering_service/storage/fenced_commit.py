"""The writers of a group commit: all of it in one transaction, behind its node's fence."""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import starmap
from typing import Any, Final, Protocol

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from metering_service.domain.errors import NodeFencedError, RevisedElsewhereError
from metering_service.domain.records import CommitBatch, RequestKey
from metering_service.storage.rows import aggregate_row, denial_row, lease_row, request_row
from metering_service.storage.schema import requests
from metering_service.storage.statements import BulkStatement, CommitStatements, Row
from metering_service.usecases.ports import RequestName
from tallygate._server.database.engine import quick_reads, sqlite_connector, sqlite_file
from tallygate._server.database.sqlite_file import SqliteFile

_ADVANCE: Final = """
UPDATE nodes
SET commit_no = ?3,
    closed_below_epoch = max(closed_below_epoch, ?5),
    exchange_answered = CASE WHEN ?4 > 0 THEN ?4 ELSE exchange_answered END,
    answered_epoch = CASE WHEN ?4 > 0 THEN ?2 ELSE answered_epoch END
WHERE node = ?1 AND epoch = ?2 AND commit_no = ?3 - 1
"""
_ADVANCE_ON_POSTGRESQL: Final = """
UPDATE nodes
SET commit_no = $3::bigint,
    closed_below_epoch = greatest(closed_below_epoch, $5::bigint),
    exchange_answered = CASE WHEN $4::bigint > 0 THEN $4::bigint ELSE exchange_answered END,
    answered_epoch = CASE WHEN $4::bigint > 0 THEN $2::bigint ELSE answered_epoch END
WHERE node = $1 AND epoch = $2::bigint AND commit_no = $3::bigint - 1
RETURNING commit_no
"""
_COMMIT_NO: Final = "SELECT commit_no FROM nodes WHERE node = ?1 AND epoch = ?2"
_COMMIT_NO_ON_POSTGRESQL: Final = "SELECT commit_no FROM nodes WHERE node = $1 AND epoch = $2"

_KEY: Final = ("service", "request_id", "part")
_REVISION: Final = "SELECT revision FROM requests WHERE service = ? AND request_id = ? AND part = ?"
_REVISION_LOCKED: Final = (
    select(requests.c.revision).where(*(requests.c[name] == bindparam(name) for name in _KEY)).with_for_update()
)

Names = Sequence[tuple[str, str, str]]
"""Uid, name and model of services."""
KeptFinishes = Collection[RequestName] | None


class Writer(Protocol):
    """The part of `Recorder` that is called all the time."""

    async def write(self, node: str, epoch: int, batch: CommitBatch, names: Names) -> KeptFinishes:
        """Write a batch in one transaction, exactly once; `names`: services that may be new.

        Raises NodeFencedError. Returns the unauthorised finishes that were kept, as `Recorder.commit` does.
        """

    async def close(self) -> None:
        """Let go of the database."""


def writer_for(engine: AsyncEngine) -> Writer:
    """The one that suits the engine's database."""
    if engine.dialect.name == "sqlite":
        return SqliteWriter(sqlite_connector(engine), sqlite_file(engine))
    return PostgresWriter(engine)


class SqliteWriter:
    """One connection, in a thread of its own.

    A commit is one visit to that thread: through an asynchronous driver it would be some twenty, each with two switches
    of threads, 2 to 3 ms of processor for however little is written.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], file: SqliteFile | None = None) -> None:
        """`file`: where the database is; None for one in memory."""
        self._connect = connect
        self._file = file
        self._statements = CommitStatements(sqlite.dialect())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tallygate-writer")
        self._connection: sqlite3.Connection | None = None

    async def write(self, node: str, epoch: int, batch: CommitBatch, names: Names) -> KeptFinishes:
        """Write the batch in the writer's own thread, while the event loop goes on."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.write_now, node, epoch, batch, names)

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._let_go)
        self._thread.shutdown(wait=False)

    def write_now(self, node: str, epoch: int, batch: CommitBatch, names: Names) -> KeptFinishes:
        """What `write` does in its thread."""
        kept: KeptFinishes = None
        if self._connection is None:
            self._connection = self._connect()
        elif self._file is not None:
            self._file.check()
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            if _advances(connection, node, epoch, batch):
                for key, revision in batch.revised:
                    _check_revision(key, revision, connection.execute(_REVISION, key).fetchone())
                for statement, rows in _contents(self._statements, node, epoch, batch, names):
                    statement.on_sqlite(connection, rows)
                finishes = [request_row(record) for record in batch.unauthorised]
                kept = {RequestName(*name) for name in self._statements.keep_requests.on_sqlite(connection, finishes)}
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.rollback()
            self._let_go()
            raise
        if self._file is not None:
            self._file.check_used()
        return kept

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class PostgresWriter:
    """Through the engine; the rows go to the driver as columns. A heartbeat alone is one statement, and no more."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._statements = CommitStatements(engine.dialect)

    async def write(self, node: str, epoch: int, batch: CommitBatch, names: Names) -> KeptFinishes:
        """Write the batch in a transaction of the engine."""
        contents = _contents(self._statements, node, epoch, batch, names)
        if not (contents or batch.revised or batch.unauthorised):
            reads = quick_reads(self._engine)
            if await reads.found(_ADVANCE_ON_POSTGRESQL, _advance_values(node, epoch, batch)):
                return set()
            found = await reads.found(_COMMIT_NO_ON_POSTGRESQL, (node, epoch))
            _check_written(next(iter(found), None), node, epoch, batch)
            return None
        async with self._engine.begin() as connection:
            if not await _advances_on_postgresql(connection, node, epoch, batch):
                return None
            for key, revision in sorted(batch.revised):
                row = (await connection.execute(_REVISION_LOCKED, dict(zip(_KEY, key, strict=True)))).one_or_none()
                _check_revision(key, revision, row)
            driver = (await connection.get_raw_connection()).driver_connection
            for statement, rows in contents:
                await statement.on_postgresql(driver, rows)
            finishes = [request_row(record) for record in batch.unauthorised]
            return {RequestName(*name) for name in await self._statements.keep_requests.on_postgresql(driver, finishes)}

    async def close(self) -> None:
        """The engine is not this one's."""


def _contents(
    statements: CommitStatements, node: str, epoch: int, batch: CommitBatch, names: Names
) -> Sequence[tuple[BulkStatement, list[Row]]]:
    contents: list[tuple[BulkStatement, list[Row]]] = [
        (statements.put_nodes, [(*noted, 0, "", 0, 0, 0) for noted in _noted_nodes(batch)]),
        (statements.put_services, list(names)),
        (statements.put_requests, [request_row(record) for record in batch.requests]),
        (statements.keep_requests, [request_row(record) for record in batch.notes]),
        (statements.put_counts, [(node, epoch, *page) for page in batch.counts]),
        (statements.put_rechecks, [(node, epoch, *key) for key in batch.rechecks]),
        (statements.drop_rechecks, [(node, of_epoch, *key) for of_epoch, key in batch.rechecked]),
        (statements.put_leases, [lease_row(record) for record in batch.leases]),
        (statements.add_usage, list(starmap(aggregate_row, batch.aggregates))),
        (statements.add_denials, list(starmap(denial_row, batch.denials))),
    ]
    return [(statement, rows) for statement, rows in contents if rows]


def _noted_nodes(batch: CommitBatch) -> Collection[tuple[str, int]]:
    """Nodes whose records are noted here, each with its last epoch that is."""
    noted: dict[str, int] = {}
    for record in batch.notes:
        noted[record.node] = max(record.epoch, noted.get(record.node, 0))
    return noted.items()


def _advance_values(node: str, epoch: int, batch: CommitBatch) -> tuple[str, int, int, int, int]:
    return (node, epoch, batch.commit_no, batch.exchange_answered, batch.closed_below_epoch)


def _advances(connection: sqlite3.Connection, node: str, epoch: int, batch: CommitBatch) -> bool:
    """Whether this commit is to be written now; False where it was written before. Raises NodeFencedError."""
    if connection.execute(_ADVANCE, _advance_values(node, epoch, batch)).rowcount == 1:
        return True
    _check_written(connection.execute(_COMMIT_NO, (node, epoch)).fetchone(), node, epoch, batch)
    return False


async def _advances_on_postgresql(connection: AsyncConnection, node: str, epoch: int, batch: CommitBatch) -> bool:
    """As `_advances`."""
    # In the driver's words: SQLAlchemy takes several times as long to put them together as to have them asked.
    advanced = await connection.exec_driver_sql(_ADVANCE_ON_POSTGRESQL, _advance_values(node, epoch, batch))
    if advanced.one_or_none() is not None:
        return True
    found = await connection.exec_driver_sql(_COMMIT_NO_ON_POSTGRESQL, (node, epoch))
    _check_written(found.one_or_none(), node, epoch, batch)
    return False


def _check_revision(key: RequestKey, revision: int, row: Any) -> None:
    found = None if row is None else row[0]
    if found != revision:
        raise RevisedElsewhereError(key, revision, found)


def _check_written(row: Any, node: str, epoch: int, batch: CommitBatch) -> None:
    """Raises NodeFencedError, unless the commit with this number was written before, by the epoch that may write."""
    if row is None or row[0] != batch.commit_no:
        raise NodeFencedError(
            f"Node {node} is not at commit {batch.commit_no - 1} of epoch {epoch}: a later epoch has taken over."
        )
