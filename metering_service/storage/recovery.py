"""The queries of `tallygate recover` on the metering database."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.records import LeaseRecord
from metering_service.storage.epochs import begin_epoch, close_leases, ensured
from metering_service.storage.failures import database_answers
from metering_service.storage.recorder import SqlRecorder
from metering_service.storage.rows import lease_of
from metering_service.storage.schema import IS_OPEN, leases, nodes, requests
from tallygate._server.database.engine import read_only

_LEFT: Final = (
    select(requests.c.node, func.max(requests.c.epoch).label("epoch")).where(IS_OPEN).group_by(requests.c.node)
)
"""Nodes with open requests: also those that a database which was put back to an older copy does not know otherwise."""


class SqlRecoveryStore:
    """`RecoveryStore` over SQLite or PostgreSQL."""

    def __init__(self, engine: AsyncEngine, recorder: SqlRecorder) -> None:
        self._engine = engine
        self._recorder = recorder

    async def database_id(self) -> str:
        """Return the id of the database, as the recorder has it."""
        return await self._recorder.database_id()

    async def fence(self, known: Mapping[str, int], holder: str, *, closes_leases: bool = False) -> dict[str, int]:
        """End the epochs of all nodes, each node's row locked, in one transaction."""
        fenced = {}
        async with database_answers(self._engine, "writing"), self._engine.begin() as connection:
            left = {row.node: row.epoch for row in await connection.execute(_LEFT)}
            names = set((await connection.scalars(select(nodes.c.node))).all()) | set(known) | set(left)
            for name in sorted(names):
                row = await ensured(connection, name)
                fenced[name] = max(row.epoch, known.get(name, 0), left.get(name, 0))
                await begin_epoch(connection, row, fenced[name] + 1, holder)
                if closes_leases:
                    await close_leases(connection, row, known.get(name, 0))
        return fenced

    async def lease_totals(self, after: str, limit: int) -> list[LeaseRecord]:
        """Read leases after that id, in order of their ids."""
        query = select(leases).where(leases.c.lease_id > after).order_by(leases.c.lease_id).limit(limit)
        async with database_answers(self._engine), read_only(self._engine) as connection:
            return [lease_of(row) for row in (await connection.execute(query)).mappings()]

    async def unsettled_count(self) -> int:
        """Count the open requests of epochs that may write no more."""
        query = (
            select(func.count())
            .select_from(requests)
            .join(nodes, requests.c.node == nodes.c.node, isouter=True)
            .where(IS_OPEN, or_(nodes.c.node.is_(None), requests.c.epoch != nodes.c.epoch))
        )
        async with database_answers(self._engine), read_only(self._engine) as connection:
            return int(await connection.scalar(query) or 0)
