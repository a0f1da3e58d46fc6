"""Deletion of old records: requests by walking the table in the order in which it lies on disk, leases by an index.

No index says when requests were booked: each row would have to be entered in it, on the road where every finish waits.
A walk reads the table from end to end instead, a little at a time, and costs writers nothing.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, exists, literal_column, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from metering_service.storage.failures import database_answers
from metering_service.storage.request_lookup import named, wanted
from metering_service.storage.resume_keys import purge_keys
from metering_service.storage.schema import IS_OPEN, counts_pages, leases, nodes, requests
from metering_service.usecases.ports import RequestName, Walked
from tallygate._server.database.engine import read_only

ROWS: Final = 1_000
"""Number of requests that one step looks at, on SQLite."""
PAGES: Final = 50
"""The same on PostgreSQL, where some 20 rows lie on a page."""

_IS_OLD: Final = ~IS_OPEN & (requests.c.settle_us < bindparam("before_us"))
_DELETE: Final = delete(requests).where(
    # A request that a late report has revised stays.
    _IS_OLD,
    *(key == bindparam(f"old_{key.name}") for key in requests.primary_key),
)
_PAGES: Final = text("SELECT pg_relation_size('requests') / current_setting('block_size')::bigint")


class SqlPurgeStore:
    """`PurgeStore` over SQLite or PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def purge_requests(self, before_us: int, place: int) -> Walked:
        """Take one step of the walk, by row numbers on SQLite and by pages on PostgreSQL."""
        async with database_answers(self._engine), read_only(self._engine) as connection:
            is_postgresql = self._engine.dialect.name == "postgresql"
            names, next_place = await (_old_in_pages if is_postgresql else _old_in_rows)(connection, before_us, place)
        if not names:
            return Walked(0, next_place)
        async with database_answers(self._engine, "writing"), self._engine.begin() as connection:
            return Walked(await _delete_whole(connection, sorted(names), before_us), next_place)

    async def purge_leases(self, before_us: int, limit: int) -> int:
        """Delete at most this many old leases, and count them."""
        key = tuple(leases.primary_key)
        old = select(*key).where(leases.c.closed, leases.c.close_us < before_us).limit(limit)
        async with database_answers(self._engine, "writing"), self._engine.begin() as connection:
            return (await connection.execute(delete(leases).where(tuple_(*key).in_(old)))).rowcount

    async def purge_resume_keys(self, before_us: int) -> int:
        """Delete the keys that nothing young was signed with, and count them."""
        return await purge_keys(self._engine, before_us)

    async def purge_counts(self) -> int:
        """Delete the pages of counts that no open request needs, and count them."""
        # Once an epoch is over, nothing of it begins to run.
        is_over = exists().where(nodes.c.node == counts_pages.c.node, nodes.c.epoch > counts_pages.c.epoch)
        its_epoch = (requests.c.node == counts_pages.c.node) & (requests.c.epoch == counts_pages.c.epoch)
        runs = exists().where(its_epoch, IS_OPEN)
        async with database_answers(self._engine, "writing"), self._engine.begin() as connection:
            return (await connection.execute(delete(counts_pages).where(is_over, ~runs))).rowcount


async def _old_in_rows(connection: AsyncConnection, before_us: int, place: int) -> tuple[set[RequestName], int | None]:
    """SQLite numbers rows as they come: the oldest are at the beginning, and there the walk ends, too."""
    row_id: ColumnElement[int] = literal_column("requests.rowid")
    columns = (row_id.label("place"), requests.c.service, requests.c.request_id, requests.c.start_us)
    is_old = ~IS_OPEN & (requests.c.settle_us < before_us)
    query = select(*columns, is_old.label("is_old")).where(row_id > place).order_by(row_id).limit(ROWS)
    rows = (await connection.execute(query)).all()
    names = {RequestName(row.service, row.request_id) for row in rows if row.is_old}
    is_over = len(rows) < ROWS or rows[-1].start_us >= before_us
    return names, None if is_over else rows[-1].place


async def _old_in_pages(connection: AsyncConnection, before_us: int, place: int) -> tuple[set[RequestName], int | None]:
    """PostgreSQL fills whatever room there is: every page is looked at."""
    here = "requests.ctid >= CAST(CAST(:first AS text) AS tid) AND requests.ctid < CAST(CAST(:beyond AS text) AS tid)"
    query = select(requests.c.service, requests.c.request_id).where(text(here), _IS_OLD)
    beyond = place + PAGES
    bounds = {"first": f"({place},0)", "beyond": f"({beyond},0)", "before_us": before_us}
    names = {RequestName(*row) for row in await connection.execute(query, bounds)}
    pages = await connection.scalar(_PAGES)
    return names, beyond if beyond < (pages or 0) else None


async def _delete_whole(connection: AsyncConnection, names: Sequence[RequestName], before_us: int) -> int:
    """Delete all parts of those requests of which all parts are old, in the order in which commits lock rows."""
    columns = requests.c.service, requests.c.request_id, requests.c.part, _IS_OLD
    whole = select(*columns).select_from(wanted(connection.dialect))
    parts = (await connection.execute(whole, {"before_us": before_us, **named(connection.dialect, names)})).all()
    kept = {(service, request_id) for service, request_id, _, is_old in parts if not is_old}
    keys = sorted((part.service, part.request_id, part.part) for part in parts)
    old = [
        {"old_service": service, "old_request_id": request_id, "old_part": part, "before_us": before_us}
        for service, request_id, part in keys
        if (service, request_id) not in kept
    ]
    if old:
        await connection.execute(_DELETE, old)
    return len(old)
