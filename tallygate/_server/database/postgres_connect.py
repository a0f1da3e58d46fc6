"""Connections to PostgreSQL: to the host that can do what is wanted, and through poolers that share sessions.

A pooler in transaction mode gives each transaction any session of the server, so nothing may be left in one: statements
are prepared without a name, within the transaction that executes them, and time-outs are set there. A pooler is known
by the number of the server's process, of which it tells its own. Without one, prepared statements are kept.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg
from asyncpg.exceptions import ReadOnlySQLTransactionError
from asyncpg.transaction import Transaction
from sqlalchemy import URL
from typing_extensions import override

from tallygate._server.database.driver_errors import DRIVER_ERRORS, is_unavailable
from tallygate._server.database.postgres_url import (
    DRIVER_PARAMETERS,
    SERVER_PARAMETERS,
    TLS_PARAMETERS,
    Place,
    parameter,
    places_of,
)

CONNECT_TIMEOUT_S: Final = 5
FURTHER_HOST_TIMEOUT_S: Final = 2
"""Timeout for a host where there are several: a lost one keeps others waiting for no longer."""
# A server that has gone silent shall become an error that callers know, not a transaction that never ends.
COMMAND_TIMEOUT_S: Final = 10
# A program that is frozen or cut off in the middle of a transaction shall not keep its locks from the others.
IDLE_IN_TRANSACTION_S: Final = 3
TRANSACTION_S: Final = 15
"""Maximum duration of a transaction that does not go on, see `go_on`.

asyncpg sends a statement in two parts, and for a server that waits for the second one the transaction is not idle: no
other time-out ends it, also not that of statements.
"""
_HAS_TRANSACTION_TIMEOUT: Final = (17, 0)
_GO_ON: Final = "SELECT set_config('transaction_timeout', '0', true), set_config('transaction_timeout', '{}s', true)"
# A host that is cut off answers nothing, and would be waited for two hours; PostgreSQL before 17 has only this.
_LOST_HOST: Final = """
SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '11s'
"""
STATEMENTS_MAX: Final = 100
"""Maximum number of prepared statements that a connection without a pooler keeps."""

_LOOK: Final = """
SELECT pg_backend_pid(), pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'
"""


class NotWantedError(ReadOnlySQLTransactionError):
    """No host is what `target_session_attrs` asks for."""


class PooledConnection(asyncpg.Connection):
    """One by a pooler: its transactions set their time-outs themselves, and statements are not kept."""

    is_hurried = True
    """Whether its transactions may not take as long as they take."""

    @override
    def transaction(self, *, isolation: Any = None, readonly: bool = False, deferrable: bool = False) -> Transaction:
        """A transaction that ends where this program is frozen in its middle."""
        return _TimedTransaction(self, isolation, readonly, deferrable)  # type: ignore[no-untyped-call]  # asyncpg's


def is_pooled(connection: asyncpg.Connection) -> bool:
    """Whether it is by a pooler. Not by `isinstance`: asyncpg says of each connection that it is of any subclass."""
    return type(connection) is PooledConnection


class _TimedTransaction(Transaction):
    """Only of the outermost block: a savepoint of it has the same time-out."""

    @override
    async def start(self) -> None:
        await super().start()
        if not self._nested:
            connection: PooledConnection = self._connection
            await connection.execute(_limits(connection, "SET LOCAL", is_hurried=connection.is_hurried))


class PostgresConnector:
    """Of one engine. Hosts are tried in turn, beginning with the one that was good last."""

    def __init__(self, url: URL, *, wanted: str) -> None:
        """`wanted`: `target_session_attrs` of a URL that does not say it."""
        self._places: list[Place | None] = list(places_of(url)) or [None]
        self._wanted = parameter(url, "target_session_attrs") or wanted
        self.options = _options_of(url)
        several_s = FURTHER_HOST_TIMEOUT_S if len(self._places) > 1 else CONNECT_TIMEOUT_S
        self.timeout_s = float(parameter(url, "connect_timeout") or several_s)
        self.command_timeout_s: float | None = COMMAND_TIMEOUT_S
        self._pooled: dict[Place | None, bool] = {}

    @property
    def is_for_writing(self) -> bool:
        """Whether a host that cannot be written is of no use."""
        return self._wanted in ("read-write", "primary")

    async def connect(self) -> asyncpg.Connection:
        """A connection to a host that is wanted; a PooledConnection where sessions are shared.

        Raises what asyncpg raises for the last host, and NotWantedError.
        """
        rounds = ("standby", "any") if self._wanted == "prefer-standby" else (self._wanted,)
        problem: Exception | None = None
        for wanted in rounds:
            for place in list(self._places):
                try:
                    connection = await self._connect_to(place, wanted)
                except DRIVER_ERRORS as error:
                    if not is_unavailable(error):
                        raise
                    problem = error
                else:
                    self._places.remove(place)
                    self._places.insert(0, place)
                    return connection
        assert problem is not None
        raise problem

    async def _connect_to(self, place: Place | None, wanted: str) -> asyncpg.Connection:
        """A connection to this host. Raises NotWantedError, and what asyncpg raises."""
        for _ in range(2):
            expected = self._pooled.get(place, False)
            # Of all of it: a pooler takes callers in while it has no server for them.
            async with asyncio.timeout(self.timeout_s):
                connection = await self._open(place, is_pooled=expected)
                try:
                    if await self._look(connection, place, wanted) == expected:
                        return connection
                except BaseException:
                    connection.terminate()
                    raise
                await connection.close()
        raise ConnectionError("some of its connections are by a pooler and others are not")

    async def _open(self, place: Place | None, *, is_pooled: bool) -> asyncpg.Connection:
        host, port = place or (None, None)
        connection: asyncpg.Connection = await asyncpg.connect(
            host=host,
            port=port,
            command_timeout=self.command_timeout_s,
            statement_cache_size=0 if is_pooled else STATEMENTS_MAX,
            connection_class=PooledConnection if is_pooled else asyncpg.Connection,
            target_session_attrs="any",
            **self.options,
        )
        if isinstance(connection, PooledConnection) and is_pooled:
            connection.is_hurried = self.command_timeout_s is not None
        return connection

    async def _look(self, connection: asyncpg.Connection, place: Place | None, wanted: str) -> bool:
        """Whether a pooler is between. Raises NotWantedError."""
        # Not through `connection.transaction`: this is before anything is known of it.
        await connection.execute("BEGIN")
        pid, is_standby, is_read_only = await (await connection.prepare(_LOOK, name="")).fetchrow()
        await connection.execute("COMMIT")
        suits = {
            "any": True,
            "read-write": not is_read_only,
            "read-only": is_read_only,
            "primary": not is_standby,
            "standby": is_standby,
        }
        if not suits[wanted]:
            raise NotWantedError(f"this host is not {wanted}")
        shares = self._pooled[place] = bool(pid != connection.get_server_pid())
        if not shares:
            limits = _limits(connection, "SET", is_hurried=self.command_timeout_s is not None)
            await connection.execute(f"{limits}; {_LOST_HOST}")
        return shares


def _limits(connection: asyncpg.Connection, command: str, *, is_hurried: bool) -> str:
    """What ends a transaction that nobody goes on with; `command`: `SET`, or `SET LOCAL` of this transaction alone."""
    limits = f"{command} idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_S}s'"
    if is_hurried and connection.get_server_version() >= _HAS_TRANSACTION_TIMEOUT:
        limits += f"; {command} transaction_timeout = '{TRANSACTION_S}s'"
    return limits


def go_on(connection: asyncpg.Connection) -> str | None:
    """The statement by which the time of a transaction begins anew; None where it has none."""
    return _GO_ON.format(TRANSACTION_S) if connection.get_server_version() >= _HAS_TRANSACTION_TIMEOUT else None


def _options_of(url: URL) -> Mapping[str, Any]:
    """What asyncpg is told of the URL, but for hosts. What it takes only as parts of a URL is handed on as one."""
    said = {name: parameter(url, name) for name in url.query}
    tls = {name: value for name, value in said.items() if name in TLS_PARAMETERS}
    if "ssl" in said:
        tls.setdefault("sslmode", said["ssl"])
    options: dict[str, Any] = {name: value for name, value in said.items() if name in DRIVER_PARAMETERS}
    options |= {"user": url.username or options.get("user"), "password": url.password or options.get("password")}
    options["database"] = url.database or said.get("dbname") or said.get("database")
    options["server_settings"] = {name: value for name, value in said.items() if name in SERVER_PARAMETERS}
    return {**options, "dsn": f"postgresql://?{urlencode(tls)}" if tls else None}
