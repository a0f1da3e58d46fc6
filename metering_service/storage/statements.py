"""The statements of a group commit: whole columns of values at once, on SQLite and PostgreSQL.

A statement with many rows, because one for each row costs the program that answers decisions much more: SQLite's
driver gives up the interpreter's lock for each statement, and gets it back when somebody lets go of it (up to 5 ms
later, while decisions are made); PostgreSQL's encodes arrays much faster than as many parameter lists.
"""

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Dialect,
    Integer,
    LargeBinary,
    Table,
    and_,
    case,
    func,
    literal_column,
    not_,
    or_,
)
from sqlalchemy.sql.dml import ReturningInsert

from metering_service.storage.schema import (
    counts_pages,
    leases,
    minute_denials,
    minute_usage,
    nodes,
    rechecks,
    requests,
    services,
)
from tallygate._server.database.upsert import Insert, dialect_insert, new_values, replace_rows

Upsert = Insert | ReturningInsert[Any]
Row = Sequence[Any]

_VALUES_MAX: Final = 32_766
"""Of one statement on SQLite, as its usual build has it. Ours may take more, but nothing is gained by that."""


class BulkStatement:
    """One statement for any number of rows, which are tuples in the order of `columns`.

    `head` and `tail` are what stands before and after the rows, `from_arrays` is all of it for PostgreSQL. Rows of
    one call have different keys, the first `key_count` columns, and are written in the order of these: so two nodes'
    commits take their locks in the same order and never deadlock, and neighbours are found together.
    """

    def __init__(self, columns: Sequence[ColumnElement[Any]], key_count: int, head: str, tail: str) -> None:
        self._row = f"({', '.join('?' * len(columns))})"
        self._width = len(columns)
        self._key_count = key_count
        self._head, self._tail = head, tail
        arrays = ", ".join(f"${number}::{_type_of(column)}[]" for number, column in enumerate(columns, 1))
        self.from_arrays = head.replace("VALUES ", f"SELECT * FROM unnest({arrays})") + tail  # noqa: S608  # from the tables
        self._texts: dict[int, str] = {}

    def on_sqlite(self, connection: sqlite3.Connection, rows: Iterable[Row]) -> list[Row]:
        """Write the rows, in the transaction that is open; what the statement returns."""
        returned: list[Row] = []
        ordered = self._ordered(rows)
        values_max = min(_VALUES_MAX, connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER))
        for part in _parts(ordered, values_max // self._width):
            returned += connection.execute(self._text(len(part)), [value for row in part for value in row]).fetchall()
        return returned

    async def on_postgresql(self, connection: Any, rows: Iterable[Row]) -> list[Row]:
        """As `on_sqlite`. `connection`: asyncpg's."""
        ordered = self._ordered(rows)
        if not ordered:
            return []
        return list(await connection.fetch(self.from_arrays, *map(list, zip(*ordered, strict=True))))

    def _ordered(self, rows: Iterable[Row]) -> list[Row]:
        return sorted(rows, key=itemgetter(*range(self._key_count)))

    def _text(self, count: int) -> str:
        text = self._texts.get(count)
        if text is None:
            rows = ", ".join([self._row] * count)
            text = self._texts[count] = self._head.replace("VALUES ", f"VALUES {rows}") + self._tail
        return text


def _parts(rows: list[Row], limit: int) -> Iterator[list[Row]]:
    """The rows in parts whose sizes are powers of two: so there are few different statements to prepare."""
    start = 0
    while start < len(rows):
        size = min(1 << (len(rows) - start).bit_length() - 1, 1 << limit.bit_length() - 1)
        yield rows[start : start + size]
        start += size


def _type_of(column: ColumnElement[Any]) -> str:
    kinds = {BigInteger: "bigint", Integer: "integer", Boolean: "boolean", LargeBinary: "bytea"}
    return kinds.get(type(column.type), "text")


def _upsert(statement: Upsert, table: Table, dialect: Dialect) -> BulkStatement:
    columns = list(table.columns)
    text = str(statement.compile(dialect=dialect, column_keys=[column.name for column in columns]))
    parts = re.fullmatch(r"(INSERT INTO .+? VALUES )\((.+?)\)( ON CONFLICT .+)", text, re.DOTALL)
    assert parts is not None, f"not an upsert: {text}"
    key_count = len(table.primary_key)
    assert list(table.primary_key) == columns[:key_count], "the key does not come first"
    return BulkStatement(columns, key_count, parts[1], parts[3])


def _delete(table: Table) -> BulkStatement:
    keys = list(table.primary_key)
    names = ", ".join(column.name for column in keys)
    return BulkStatement(keys, len(keys), f"DELETE FROM {table.name} WHERE ({names}) IN (VALUES ", ")")  # noqa: S608  # as above


class CommitStatements:
    """What a group commit writes, beside its node's row."""

    def __init__(self, dialect: Dialect) -> None:
        def upsert(make: Callable[[Insert], Upsert], table: Table) -> BulkStatement:
            return _upsert(make(dialect_insert(dialect, table)), table, dialect)

        self.put_nodes = upsert(_keep, nodes)
        self.put_services = upsert(_name_model, services)
        self.put_requests = upsert(_replace_requests, requests)
        self.keep_requests = upsert(_keep_and_say, requests)
        self.put_counts = upsert(replace_rows, counts_pages)
        self.put_leases = upsert(_raise_leases, leases)
        self.put_rechecks = upsert(_keep, rechecks)
        self.drop_rechecks = _delete(rechecks)
        self.add_usage = upsert(_add, minute_usage)
        self.add_denials = upsert(_add, minute_denials)


def _keep(statement: Insert) -> Insert:
    return statement.on_conflict_do_nothing()


def _name_model(statement: Insert) -> Insert:
    """A service has one model; what is not known yet is entered later."""
    new = statement.excluded.model
    return statement.on_conflict_do_update(
        index_elements=list(services.primary_key),
        set_={"model": new},
        where=and_(services.c.model == literal_column("''"), new != literal_column("''")),
    )


def _keep_and_say(statement: Insert) -> Upsert:
    """Those rows that were not there already, by name."""
    return _keep(statement).returning(requests.c.service, requests.c.request_id)


def _replace_requests(statement: Insert) -> Insert:
    """Whole rows; but no checkpoint takes back a booking, and a finish is booked by the node that entered it first."""
    is_open: ColumnElement[str] = literal_column("'open'")
    is_owned = and_(
        requests.c.part == literal_column("''"),
        requests.c.state == is_open,
        or_(requests.c.node != statement.excluded.node, requests.c.epoch != statement.excluded.epoch),
    )
    return statement.on_conflict_do_update(
        index_elements=list(requests.primary_key),
        set_=new_values(statement),
        where=not_(or_(is_owned, and_(requests.c.state != is_open, statement.excluded.state == is_open))),
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
        set_={name: table.c[name] + new for name, new in new_values(statement).items()},
    )
