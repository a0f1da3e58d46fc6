"""The upserts of a group commit, the same on SQLite and PostgreSQL."""

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

from sqlalchemy import Column, ColumnElement, Dialect, Table, and_, case, func, literal_column, not_, or_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from metering_service.storage.rows import Row
from metering_service.storage.schema import leases, minute_denials, minute_usage, requests, services

Insert = postgresql.Insert | sqlite.Insert

_INSERT: dict[str, Callable[[Table], Insert]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert(dialect: Dialect, table: Table) -> Insert:
    """An insert that knows ON CONFLICT, in the words of that dialect."""
    return _INSERT[dialect.name](table)


class Upsert:
    """One upsert, compiled once and executed with many rows.

    The rows go to the driver as tuples. Through SQLAlchemy's own parameters a batch of 1,000 requests takes some 20 ms
    more of the processor that also answers decisions.
    """

    def __init__(self, statement: Insert, dialect: Dialect) -> None:
        names = [column.name for column in statement.table.columns]
        compiled = statement.compile(dialect=dialect, column_keys=names)
        assert compiled.positiontup == names, "a parameter that is no column"
        self._sql = str(compiled)
        self._values = itemgetter(*names)
        self._key = itemgetter(*(column.name for column in statement.table.primary_key))

    async def execute(self, connection: AsyncConnection, rows: Iterable[Row]) -> None:
        """Write the rows in the order of their keys; of the same key, the last one comes last.

        So two nodes' commits take their locks in the same order and never deadlock, and neighbours are found together.
        """
        values = [self._values(row) for row in sorted(rows, key=self._key)]
        if values:
            await connection.exec_driver_sql(self._sql, values)


class CommitStatements:
    """What a group commit writes, beside its node's row."""

    def __init__(self, dialect: Dialect) -> None:
        def upsert(make: Callable[[Insert], Insert], table: Table) -> Upsert:
            return Upsert(make(insert(dialect, table)), dialect)

        self.put_services = upsert(_keep_services, services)
        self.put_requests = upsert(_replace_requests, requests)
        self.put_leases = upsert(_raise_leases, leases)
        self.add_usage = upsert(_add, minute_usage)
        self.add_denials = upsert(_add, minute_denials)


def _keep_services(statement: Insert) -> Insert:
    return statement.on_conflict_do_nothing()


def _replace_requests(statement: Insert) -> Insert:
    """Whole rows; but no checkpoint takes back a settlement, and a finish is booked by whoever claimed it first."""
    is_open: ColumnElement[str] = literal_column("'open'")
    claimed = and_(
        requests.c.part == literal_column("''"),
        requests.c.state == is_open,
        or_(requests.c.node != statement.excluded.node, requests.c.epoch != statement.excluded.epoch),
    )
    return statement.on_conflict_do_update(
        index_elements=list(requests.primary_key),
        set_={column.name: statement.excluded[column.name] for column in _not_key(requests)},
        where=not_(or_(claimed, and_(requests.c.state != is_open, statement.excluded.state == is_open))),
    )


def _raise_leases(statement: Insert) -> Insert:
    """Consumption only grows, and a closed lease stays closed, since then; its holder and purpose do not change."""
    new, consumed = statement.excluded, leases.c.consumed_units
    return statement.on_conflict_do_update(
        index_elements=list(leases.primary_key),
        set_={
            "consumed_units": case((new.consumed_units > consumed, new.consumed_units), else_=consumed),
            "closed": or_(leases.c.closed, new.closed),
            "close_us": func.coalesce(leases.c.close_us, new.close_us),
        },
    )


def _add(statement: Insert) -> Insert:
    table = statement.table
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={column.name: column + statement.excluded[column.name] for column in _not_key(table)},
    )


def _not_key(table: Any) -> Iterable[Column[Any]]:
    return (column for column in table.columns if not column.primary_key)
