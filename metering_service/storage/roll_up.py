"""Roll-up of the sums of minutes: rows of one hour or day are added to the row of its first minute, and deleted.

The row that they are added to is in the same table, so that a query adds up any mix of minutes, hours and days.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    Table,
    and_,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from metering_service.domain.resolution import DAY_US, Resolution
from metering_service.domain.stamp import HOUR_US
from metering_service.storage.failures import database_answers
from metering_service.storage.schema import minute_denials, minute_usage, roll_ups
from metering_service.usecases.ports import RollUpSpan
from tallygate._server.database.engine import read_only
from tallygate._server.database.upsert import dialect_insert, new_values

ROWS: Final = 250
"""Maximum of rows of a table that one part adds up: some milliseconds of the event loop, and of SQLite's write lock."""

SERVICES: Final = 50
"""Maximum of services that one part looks at."""

_TABLES: Final = (minute_usage, minute_denials)
_TIMES: Final = ("minute_us", "hour_us")
"""Columns of keys that are times."""


async def read_resolution(connection: AsyncConnection) -> Resolution:
    """What usage is kept by, as this transaction sees it."""
    found = await connection.execute(select(roll_ups.c.step_us, roll_ups.c.begun_us))
    begun_us = {row.step_us: row.begun_us for row in found}
    return Resolution(begun_us.get(HOUR_US, 0), begun_us.get(DAY_US, 0))


class SqlRollUpStore:
    """`RollUpStore` over SQLite or PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin_roll_up(self, step_us: int, before_us: int) -> RollUpSpan:
        """Enter it in a transaction of its own: whoever sees a row that was rolled up sees this as well."""
        insert = dialect_insert(self._engine.dialect, roll_ups)
        begin = insert.on_conflict_do_update(
            index_elements=["step_us"],
            set_={"begun_us": insert.excluded.begun_us},
            where=roll_ups.c.begun_us < insert.excluded.begun_us,
        )
        async with database_answers(self._engine, "writing"), self._engine.begin() as connection:
            await connection.execute(begin, {"step_us": step_us, "begun_us": before_us, "done_us": 0})
            rows = {row.step_us: row for row in await connection.execute(select(roll_ups))}
        longer_us = (row.begun_us for row in rows.values() if row.step_us > step_us)
        return RollUpSpan(step_us, max((rows[step_us].done_us, *longer_us)), rows[step_us].begun_us)

    async def roll_up(self, span: RollUpSpan, place: str) -> str | None:
        """One part: rows of the first service after the place that has any."""
        async with database_answers(self._engine), read_only(self._engine) as connection:
            service, has_rows = await _look(connection, span, place)
        if service is None or not has_rows:
            return service
        async with database_answers(self._engine, "writing"), self._engine.begin() as connection:
            # Of several nodes one is at work at a time, and each finds done what another did.
            await connection.execute(select(roll_ups).where(roll_ups.c.step_us == span.step_us).with_for_update())
            counts = [await _add_up(connection, table, span, service) for table in _TABLES]
        return place if ROWS in counts else service

    async def end_roll_up(self, span: RollUpSpan) -> None:
        """Enter it; the next one begins there."""
        is_less = (roll_ups.c.step_us == span.step_us) & (roll_ups.c.done_us < span.end_us)
        async with database_answers(self._engine, "writing"), self._engine.begin() as connection:
            await connection.execute(update(roll_ups).where(is_less).values(done_us=span.end_us))


async def _look(connection: AsyncConnection, span: RollUpSpan, place: str) -> tuple[str | None, bool]:
    """The first service after the place that has rows to add up, and whether it has: else the last one looked at."""
    looks = [(await connection.execute(_next_services(table, span, place))).all() for table in _TABLES]
    # Of a table that has more services, those after the last one were not looked at.
    lasts = [rows[-1].service for rows in looks if len(rows) == SERVICES]
    due = [row.service for rows in looks for row in rows if row.is_due]
    service = min([*due, *lasts], default=None)
    return service, service in due


def _next_services(table: Table, span: RollUpSpan, place: str) -> Select[Any]:
    """The next services after the place, and whether each has rows to add up.

    Name by name, since a key begins with it and nearly all rows are outside the span; in one query, as they are many.
    """
    first = select(func.min(table.c.service).label("service"), literal(1).label("number"))
    names = first.where(table.c.service > place).cte("names", recursive=True)
    after = select(func.min(table.c.service)).where(table.c.service > names.c.service).scalar_subquery()
    some_more = names.c.service.is_not(None), names.c.number < SERVICES
    names = names.union_all(select(after, names.c.number + 1).where(*some_more))
    is_due = exists().where(*_conditions(table, span, names.c.service)).label("is_due")
    return select(names.c.service, is_due).where(names.c.service.is_not(None)).order_by(names.c.number)


async def _add_up(connection: AsyncConnection, table: Table, span: RollUpSpan, service: str) -> int:
    """Add some rows to those of their hours or days; how many it were."""
    key = tuple(table.primary_key)
    some = select(*key).where(*_conditions(table, span, service)).order_by(*key).limit(ROWS)
    # The service once more: so the statement is one of that service alone, whatever becomes of the query in it.
    gone = delete(table).where(table.c.service == service, tuple_(*key).in_(some)).returning(*table.c)
    rows = (await connection.execute(gone)).mappings().all()
    if rows:
        insert = dialect_insert(connection.dialect, table)
        sums = {name: table.c[name] + new for name, new in new_values(insert).items()}
        await connection.execute(
            insert.on_conflict_do_update(index_elements=list(key), set_=sums), _summed(table, span.step_us, rows)
        )
    return len(rows)


def _conditions(table: Table, span: RollUpSpan, service: str | ColumnElement[str]) -> Iterable[ColumnElement[bool]]:
    """Rows of that service within the span that are not yet by its step."""
    minute = table.c.minute_us
    yield and_(table.c.service == service, minute >= span.start_us, minute < span.end_us)
    yield or_(*(table.c[name] % span.step_us != 0 for name in _TIMES if name in table.c))


def _summed(table: Table, step_us: int, rows: Sequence[RowMapping]) -> list[dict[str, Any]]:
    """One row for each key that is left once times are those at which their steps begin; in the order of keys."""
    names = [column.name for column in table.primary_key]
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = {name: row[name] // step_us * step_us if name in _TIMES else row[name] for name in names}
        sum_ = sums.setdefault(tuple(key.values()), {**dict.fromkeys(row.keys(), 0), **key})
        for name in row.keys() - key.keys():
            sum_[name] += row[name]
    return [sums[key] for key in sorted(sums)]
