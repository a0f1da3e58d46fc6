"""Metering nodes as rows."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any, Final

from sqlalchemy import BigInteger, RowMapping, Select, bindparam, case, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.node import LEASE_VALIDITY_US, Node
from control_service.storage import schema
from control_service.storage.given import NUMBER, TEXT, Columns, given, is_one_of, keys_of, parameters
from control_service.usecases.fleet_ports import Nodes, Renewal
from tallygate._server.database.fixed_query import FixedQuery

_nodes = schema.nodes
_meta = schema.meta
_node_columns = [_nodes.c["node" if name == "name" else name] for name in Node.__slots__]
_ACKNOWLEDGED: Final[Columns] = {"node": TEXT, "epoch": NUMBER, "version": NUMBER}
_RENEWAL: Final[Columns] = {name: TEXT if name == "node" else NUMBER for name in Renewal._fields}


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
    async def lock_all(self, names: Collection[str]) -> dict[str, Node]:
        dialect = self._connection.dialect.name
        rows = await _lock_all(dialect).rows(self._connection, keys_of(dialect, sorted(names)))
        return {row["node"]: Node(*row.values()) for row in rows}

    @override
    async def renew(self, renewals: Collection[Renewal], expected_version: int, now_us: int) -> frozenset[str]:
        dialect = self._connection.dialect.name
        given_rows = parameters(dialect, _RENEWAL, renewals)
        moments = {"expected_version": expected_version, "now_us": now_us, "valid_until_us": now_us + LEASE_VALIDITY_US}
        taken = await _renew(dialect).rows(self._connection, given_rows | moments)
        return frozenset(row["node"] for row in taken)

    @override
    async def mark_settled(self, name: str, below_epoch: int) -> None:
        await self._connection.execute(
            update(_nodes).where(_nodes.c.node == name).values(settled_below_epoch=below_epoch)
        )

    @override
    async def every(self) -> list[Node]:
        return await self._read(select(_nodes))

    @override
    async def find(self, names: Collection[str]) -> dict[str, Node]:
        dialect = self._connection.dialect.name
        rows = await self._connection.execute(_find(dialect), keys_of(dialect, sorted(names)))
        return {row[0]: Node(*row) for row in rows}

    @override
    async def page(self, after: str, limit: int) -> list[Node]:
        return await self._read(select(_nodes).where(_nodes.c.node > after).order_by(_nodes.c.node).limit(limit))

    @override
    async def acknowledge(self, acknowledged: Mapping[tuple[str, int], int], now_us: int) -> frozenset[tuple[str, int]]:
        names = {name for name, _ in acknowledged}
        if len(names) > 1:
            # In their order; one alone is locked by the update.
            await self.lock_all(names)
        dialect = self._connection.dialect.name
        given_rows = parameters(dialect, _ACKNOWLEDGED, [(*epoch, version) for epoch, version in acknowledged.items()])
        known = await _acknowledge(dialect).rows(self._connection, given_rows | {"now_us": now_us})
        return frozenset((row["node"], row["epoch"]) for row in known)

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


@cache
def _find(dialect: str) -> Select[Any]:
    return select(*_node_columns).where(is_one_of(dialect, _nodes.c.node))


@cache
def _lock_all(dialect: str) -> FixedQuery:
    return FixedQuery(_find(dialect).order_by(_nodes.c.node).with_for_update())


@cache
def _renew(dialect: str) -> FixedQuery:
    rows = given(dialect, _RENEWAL)
    expected_version = bindparam("expected_version", type_=BigInteger)
    return FixedQuery(
        update(_nodes)
        .where(
            _nodes.c.node == rows.c.node,
            _nodes.c.epoch == rows.c.epoch,
            _nodes.c.exchange_number < rows.c.exchange_number,
            _nodes.c.exchange_number >= rows.c.answered_number,
            _nodes.c.commit_no <= rows.c.commit_no,
            or_(
                _nodes.c.acknowledged_version >= expected_version,
                rows.c.acknowledged_version >= expected_version,
            ),
        )
        .values(
            exchange_number=rows.c.exchange_number,
            commit_no=rows.c.commit_no,
            heard_count=_nodes.c.heard_count + 1,
            last_heard_us=bindparam("now_us", type_=BigInteger),
            lease_valid_until_us=bindparam("valid_until_us", type_=BigInteger),
        )
        .returning(_nodes.c.node)
    )


@cache
def _acknowledge(dialect: str) -> FixedQuery:
    rows, known = given(dialect, _ACKNOWLEDGED), _nodes.c.acknowledged_version
    return FixedQuery(
        update(_nodes)
        .where(_nodes.c.node == rows.c.node, _nodes.c.epoch == rows.c.epoch)
        .values(
            acknowledged_version=case((known < rows.c.version, rows.c.version), else_=known),
            heard_count=_nodes.c.heard_count + 1,
            last_heard_us=bindparam("now_us", type_=BigInteger),
        )
        .returning(_nodes.c.node, _nodes.c.epoch)
    )


def _node(row: RowMapping) -> Node:
    values = dict(row)
    return Node(name=values.pop("node"), **values)
