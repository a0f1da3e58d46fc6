"""The engine over PostgreSQL: a pool of few connections, of which one is always left for writing."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from sqlalchemy import URL, Connection, Dialect, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only
from typing_extensions import override

from tallygate._server.database.postgres_connect import (
    COMMAND_TIMEOUT_S,
    TRANSACTION_S,
    PostgresConnector,
    go_on,
    is_pooled,
)
from tallygate._server.database.quick_reads import PostgresReads, QuickReads
from tallygate._server.database.url import POSTGRESQL
from tallygate._server.outage import Outage

POOL_TIMEOUT_S: Final = 10
"""Timeout for a connection of the pool: one that waits for longer is told that the database does not answer."""
GO_ON_S: Final = TRANSACTION_S - COMMAND_TIMEOUT_S
"""Time after which a transaction's next statement lets its time begin anew: what is left is enough for any one."""
_READ_ONLY_SQLSTATE: Final = "25006"
_SINCE: Final = "tallygate_since"


class PostgresEngine(AsyncEngine):
    """Has quick reads beside its pool: one of its connections is theirs."""

    def __init__(self, url: URL, connection_count: int, *, wanted: str, name: str) -> None:
        pool_size = max(1, connection_count - 1)
        options: dict[str, Any] = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": POOL_TIMEOUT_S}
        # The connector takes the URL apart; SQLAlchemy would refuse some of it.
        engine = create_async_engine(URL.create(POSTGRESQL), hide_parameters=True, **options).sync_engine
        engine.url = url
        super().__init__(engine)
        self._readers = asyncio.Semaphore(max(1, pool_size - 1))
        connector = self._connector = PostgresConnector(url, wanted=wanted)
        event.listen(engine, "do_connect", lambda dialect, *_: _connect(dialect, connector))
        event.listen(engine, "begin", _note_time)
        event.listen(engine, "before_cursor_execute", lambda connection, *_: _go_on(connection, connector))
        event.listen(engine, "handle_error", _leave_read_only)
        self.outage = Outage(name)
        self.quick_reads: QuickReads = PostgresReads(self, may_be_read_only=not connector.is_for_writing)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[None]:
        """The right to one of the pool's connections for reading, so that readers never have all of them.

        Raises sqlalchemy's TimeoutError where others keep them for too long.
        """
        try:
            async with asyncio.timeout(POOL_TIMEOUT_S):
                await self._readers.acquire()
        except TimeoutError as error:
            raise PoolTimeoutError("other readers of this program have kept its connections for too long") from error
        try:
            yield
        finally:
            self._readers.release()

    @asynccontextmanager
    async def unhurried(self) -> AsyncIterator[None]:
        """Commands may take as long as they take, on connections that are opened within the block."""
        self._connector.command_timeout_s = None
        try:
            yield
        finally:
            self._connector.command_timeout_s = COMMAND_TIMEOUT_S
            await self.dispose()

    @override
    async def dispose(self, close: bool = True) -> None:  # as AsyncEngine has it
        """Close all connections."""
        self.quick_reads.close()
        await super().dispose(close)


def _connect(dialect: Dialect, connector: PostgresConnector) -> Any:
    connection = await_only(connector.connect())

    async def given() -> asyncpg.Connection:
        return connection

    if is_pooled(connection):
        unnamed = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
        return dialect.connect(async_creator_fn=given, **unnamed)
    return dialect.connect(async_creator_fn=given)


def _note_time(connection: Connection) -> None:
    connection.info[_SINCE] = time.monotonic()


def _go_on(connection: Connection, connector: PostgresConnector) -> None:
    """A transaction may have any number of statements, such as one that stops thousands of services."""
    is_due = time.monotonic() - connection.info.get(_SINCE, math.inf) >= GO_ON_S
    if is_due and connector.command_timeout_s is not None:
        _note_time(connection)
        driver = connection.connection.driver_connection
        assert driver is not None
        statement = go_on(driver)
        if statement is not None:
            connection.exec_driver_sql(statement)


def _leave_read_only(context: ExceptionContext) -> None:
    """A server that was the leader once: its connections are as good as broken, and new ones look for the leader."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY_SQLSTATE:
        context.is_disconnect = True
