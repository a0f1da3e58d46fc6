"""Metering nodes as rows."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping, Select, and_, case, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.node import LEASE_VALIDITY_US, Node
from control_service.storage import schema
from control_service.usecases.fleet_ports import ExchangePosition, Nodes

_nodes = schema.nodes
_meta = schema.meta


class NodeRows(Nodes):
    """Nodes as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def lock(self, name: str) -> Node | None:
        found = await self._read(select(_nodes).where(_nodes.c.node == name).with_for_update())
        return found[0] if found else None

    @override
    async def save(self, node: Node) -> None:
        values = asdict(node)
        name = values.pop("name")
        changed = await self._connection.execute(update(_nodes).where(_nodes.c.node == name).values(values))
        if changed.rowcount == 0:
            await self._connection.execute(insert(_nodes).values(values | {"node": name}))

    @override
    async def renew(self, name: str, epoch: int, position: ExchangePosition, now_us: int) -> Node | None:
        taken = (
            update(_nodes)
            .where(
                _nodes.c.node == name,
                _nodes.c.epoch == epoch,
                _nodes.c.exchange_number < position.exchange_number,
                _nodes.c.exchange_number >= position.answered_number,
                _nodes.c.commit_no <= position.commit_no,
            )
            .values(
                exchange_number=position.exchange_number,
                commit_no=position.commit_no,
                heard_count=_nodes.c.heard_count + 1,
                last_heard_us=now_us,
                lease_valid_until_us=now_us + LEASE_VALIDITY_US,
            )
            .returning(*_nodes.c)
        )
        row = (await self._connection.execute(taken)).mappings().one_or_none()
        return None if row is None else _node(row)

    @override
    async def mark_settled(self, name: str, below_epoch: int) -> None:
        await self._connection.execute(
            update(_nodes).where(_nodes.c.node == name).values(settled_below_epoch=below_epoch)
        )

    @override
    async def every(self) -> list[Node]:
        return await self._read(select(_nodes))

    @override
    async def page(self, after: str, limit: int) -> list[Node]:
        return await self._read(select(_nodes).where(_nodes.c.node > after).order_by(_nodes.c.node).limit(limit))

    @override
    async def acknowledge(self, name: str, epoch: int, version: int, now_us: int) -> bool:
        known = _nodes.c.acknowledged_version
        heard = (
            update(_nodes)
            .where(and_(_nodes.c.node == name, _nodes.c.epoch == epoch))
            .values(
                acknowledged_version=case((known < version, version), else_=known),
                heard_count=_nodes.c.heard_count + 1,
                last_heard_us=now_us,
            )
        )
        return (await self._connection.execute(heard)).rowcount > 0

    @override
    async def metering_database(self) -> str:
        return (await self._connection.execute(select(_meta.c.metering_database_id))).scalar_one() or ""

    @override
    async def remember_database(self, database_id: str) -> str:
        remembered = _meta.c.metering_database_id
        first = update(_meta).where(remembered.is_(None)).values(metering_database_id=database_id)
        await self._connection.execute(first)
        return await self.metering_database()

    async def _read(self, query: Select[Any]) -> list[Node]:
        return [_node(row) for row in (await self._connection.execute(query)).mappings()]


def _node(row: RowMapping) -> Node:
    values = dict(row)
    return Node(name=values.pop("node"), **values)
