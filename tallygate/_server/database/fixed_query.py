"""Fixed queries: statements with rows whose text never changes, spelled once for each database and asked of its driver.

Through SQLAlchemy a query takes several times as much processor as by the driver alone. Transactions are begun and
ended by SQLAlchemy all the same, which also knows what to do with connections that broke: on PostgreSQL a transaction
begins with its first statement, so that one goes through SQLAlchemy, though as it is spelled.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import aiosqlite
import asyncpg
from sqlalchemy import Connection, Dialect, Select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import ReturningUpdate

Driver: TypeAlias = aiosqlite.Connection | asyncpg.Connection


Statement: TypeAlias = Select[Any] | ReturningUpdate[Any]


class FixedQuery:
    """A SELECT, or an UPDATE with RETURNING, with named parameters.

    None of them is a list that IN takes apart, or the text would change.
    """

    def __init__(self, statement: Statement) -> None:
        self._statement = statement
        self._spelled: dict[str, _Spelled] = {}

    async def rows(self, connection: AsyncConnection, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows, by name of column. Raises what SQLAlchemy raises, or the driver."""
        if connection.sync_connection is None:
            return [dict(row) for row in (await connection.execute(self._statement, parameters)).mappings()]
        spelled = self._spelled_for(connection.dialect)
        driver, given = _driver_in_transaction(connection.sync_connection), spelled.values(parameters)
        if driver is None:
            return [spelled.row(row) for row in await connection.exec_driver_sql(spelled.text, tuple(given))]
        return [spelled.row(row) for row in await asked(driver, spelled.text, given)]

    def _spelled_for(self, dialect: Dialect) -> "_Spelled":
        if dialect.name not in self._spelled:
            self._spelled[dialect.name] = _spell(self._statement, dialect)
        return self._spelled[dialect.name]


async def asked(driver: Driver, text: str, values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """The rows that a driver finds."""
    if isinstance(driver, aiosqlite.Connection):
        return await driver.execute_fetchall(text, values)
    found: list[Sequence[Any]] = await driver.fetch(text, *values)
    return found


@dataclass(frozen=True, slots=True)
class _Spelled:
    """A query as one database has it: names of its parameters in their places, and its columns.

    `given`: values that are part of the statement. `readers`: what makes a value of what the driver has, by column.
    """

    text: str
    places: tuple[str, ...]
    given: Mapping[str, Any]
    columns: tuple[str, ...]
    readers: Mapping[str, Callable[[Any], Any]]

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        return [parameters[name] if name in parameters else self.given[name] for name in self.places]

    def row(self, values: Sequence[Any]) -> dict[str, Any]:
        found = dict(zip(self.columns, values, strict=True))
        for name, read in self.readers.items():
            found[name] = read(found[name])
        return found


def _spell(statement: Statement, dialect: Dialect) -> _Spelled:
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    assert compiled.positiontup is not None
    columns = {str(column.key): column.type.dialect_impl(dialect) for column in statement.exported_columns}
    readers = {name: kind.result_processor(dialect, None) for name, kind in columns.items()}
    return _Spelled(
        text=str(compiled),
        places=tuple(compiled.positiontup),
        given=compiled.params,
        columns=tuple(columns),
        readers={name: read for name, read in readers.items() if read is not None},
    )


def _driver_in_transaction(connection: Connection) -> Driver | None:
    """The driver's own connection, if a transaction has begun on it."""
    driver: Any = connection.connection.driver_connection
    has_begun = driver.in_transaction if isinstance(driver, aiosqlite.Connection) else driver.is_in_transaction()
    return driver if has_begun else None
