"""How SQLite finds what is asked for: it says so in one line."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.database import fixed_query


@contextmanager
def recorded(engine: AsyncEngine) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are executed in the block, by SQLAlchemy and by fixed queries."""
    found: list[tuple[str, Any]] = []
    ask = fixed_query.asked

    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        found.append((statement, parameters))

    async def asked(driver: Any, text: str, values: Sequence[Any]) -> Iterable[Sequence[Any]]:
        found.append((text, tuple(values)))
        return await ask(driver, text, values)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    with mock.patch.object(fixed_query, "asked", asked):
        yield found
    event.remove(engine.sync_engine, "before_cursor_execute", note)


async def plans(engine: AsyncEngine, statements: list[tuple[str, Any]]) -> list[str]:
    """How SQLite looks for rows, a line for each table of a statement."""
    found = []
    async with engine.connect() as connection:
        for statement, parameters in statements:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                # Rows that come with a statement are all read: they are what is looked for.
                looks = (
                    row.detail for row in plan if row.detail != "SCAN CONSTANT ROW" and "VIRTUAL" not in row.detail
                )
                found += [f"{look}: {statement}" for look in looks if look.startswith(("SCAN ", "SEARCH "))]
    return found


async def scans(engine: AsyncEngine, statements: list[tuple[str, Any]]) -> list[str]:
    """How SQLite looks for rows, where that is not by an index."""
    return [plan for plan in await plans(engine, statements) if plan.startswith("SCAN")]


async def whole_reads(engine: AsyncEngine, statements: list[tuple[str, Any]]) -> list[str]:
    """Statements that read all rows of a table, on either database: PostgreSQL may do so only where it must."""
    if engine.dialect.name == "sqlite":
        return await scans(engine, statements)
    found = []
    async with engine.connect() as connection:
        await connection.exec_driver_sql("SET enable_seqscan = off")
        for statement, parameters in statements:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                plan = [row[0] for row in await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)]
                found += [f"{line.strip()}: {statement}" for line in plan if "Seq Scan" in line]
                found += [f"{line}: {statement}" for line in _unbounded(plan)]
    return found


def _unbounded(plan: list[str]) -> Iterator[str]:
    """Walks through an index that begin at its first entry."""
    for line, after in zip(plan, [*plan[1:], ""], strict=True):
        if "Index" in line and "Scan" in line and "Index Cond" not in after:
            yield line.strip()
