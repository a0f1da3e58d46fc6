"""The least that recording could cost: the rows that a node has recorded, inserted again into the same schema.

`python -m benchmarks.raw_inserts FROM TO COUNT`: two metering databases of the same kind, the second one empty. Prints
rows a second.
"""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import asyncpg
from sqlalchemy import make_url, select

from metering_service.storage import MIGRATIONS
from metering_service.storage.schema import requests
from tallygate._server.database.engine import create_engine, migrate, read_only

BATCH = 1_024
NAMES = [column.name for column in requests.columns]

Rows: TypeAlias = Sequence[tuple[Any, ...]]


async def recorded(url: str, count: int) -> Rows:
    """Rows as they are on record, in the order of their keys, as a group commit writes them."""
    engine = create_engine(url)
    try:
        async with read_only(engine) as connection:
            query = select(requests).where(requests.c.state != "open").order_by(*requests.primary_key).limit(count)
            return [tuple(row) for row in await connection.execute(query)]
    finally:
        await engine.dispose()


async def make_empty(url: str) -> None:
    """The same schema, and nothing in it."""
    engine = create_engine(url)
    await migrate(engine, MIGRATIONS, "metering service")
    await engine.dispose()


def batches(rows: Rows) -> Iterator[Rows]:
    """A transaction's worth each."""
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))


def into_sqlite(path: str, rows: Rows) -> float:
    """Seconds, with the settings that the service has."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    insert = f"INSERT INTO requests ({', '.join(NAMES)}) VALUES ({', '.join('?' * len(NAMES))})"  # noqa: S608  # our own names
    began_s = time.perf_counter()
    for batch in batches(rows):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, batch)
        connection.execute("COMMIT")
    took_s = time.perf_counter() - began_s
    connection.close()
    return took_s


async def into_postgresql(url: str, rows: Rows) -> float:
    """Seconds, by COPY."""
    connection = await asyncpg.connect(url)
    try:
        began_s = time.perf_counter()
        for batch in batches(rows):
            await connection.copy_records_to_table("requests", records=batch, columns=NAMES)
        return time.perf_counter() - began_s
    finally:
        await connection.close()


async def measure(source: str, target: str, count: int) -> float:
    """Rows a second."""
    rows = await recorded(source, count)
    await make_empty(target)
    url = make_url(target)
    if url.drivername.startswith("sqlite"):
        return len(rows) / await asyncio.to_thread(into_sqlite, url.database or "", rows)
    return len(rows) / await into_postgresql(target, rows)


if __name__ == "__main__":
    print(asyncio.run(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
