"""Leases as rows."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Executable,
    Row,
    Select,
    and_,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.lease import Lease
from control_service.domain.limit import LimitPotKey
from control_service.domain.pot import PotKey, PotKind
from control_service.storage import schema
from control_service.storage.given import NUMBER, TEXT, Columns, given, is_one_of, keys_of, parameters
from control_service.usecases.batches import in_batches
from control_service.usecases.fleet_ports import LeaseFilter, Leases, NamedLease, Recall
from tallygate._server.database.upsert import upsert

_leases = schema.leases
_nodes = schema.nodes
_is_open: ColumnElement[bool] = literal_column("NOT leases.closed")
_is_closed: ColumnElement[bool] = literal_column("leases.closed")
# In the words of the partial indexes, which SQLite compares; SQLAlchemy's are `closed = 0` there.
_lease_key = tuple_(_leases.c.account_id, _leases.c.lease_id)
_of_limit = (_leases.c.account_id, _leases.c.limit_uid, _leases.c.member_uid, _leases.c.period_start_us)
_plain = tuple(name for name in Lease.__slots__ if name != "limit")
_lease_columns = [
    *(_leases.c["account_id" if name == "account" else name] for name in _plain),
    *_of_limit[1:],
    _leases.c.service_id,
]
_kinds = {kind.value: kind for kind in PotKind}
_NO_LIMIT: Final = (None, None, None)
_KEY: Final[Columns] = {"account_id": TEXT, "lease_id": TEXT}
_POT: Final[Columns] = {"account_id": TEXT, "service_uid": TEXT, "kind": TEXT}
_LIMIT: Final[Columns] = {"account_id": TEXT, "limit_uid": TEXT, "member_uid": TEXT, "period_start_us": NUMBER}
_COUNTERS: Final = (
    "granted_units",
    "consumed_units",
    "returned_units",
    "held_units",
    "refunded_units",
    "update_us",
)
"""Columns that a statement changes most often; no index has any of them."""
_COUNTED: Final[Columns] = {**_KEY, **dict.fromkeys(_COUNTERS, NUMBER)}


class LeaseRows(Leases):
    """Leases as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, keys: Collection[tuple[str, str]]) -> list[Lease]:
        dialect = self._connection.dialect.name
        rows = await self._connection.execute(_find(dialect), parameters(dialect, _KEY, keys)) if keys else ()
        return [_lease(row) for row in rows]

    @override
    async def with_free_units(self, pots: Collection[PotKey]) -> list[Lease]:
        dialect = self._connection.dialect.name
        found = []
        accounts = sorted({key.account for key in pots if key.kind is PotKind.MONEY})
        if accounts:
            found += await self._read(_free_money(dialect), keys_of(dialect, accounts))
        of_services = sorted({key[:3] for key in pots if key.kind is not PotKind.MONEY and key.limit is None})
        if of_services:
            found += await self._read(_free_of_services(dialect), parameters(dialect, _POT, of_services))
        of_limits = sorted({key.limit for key in pots if key.limit is not None})
        if of_limits:
            found += await self._read(_free_of_limits(dialect), parameters(dialect, _LIMIT, of_limits))
        return sorted(found, key=lambda lease: lease.lease_id)

    @override
    async def open_of_limits(self, pots: Collection[LimitPotKey]) -> list[Lease]:
        dialect = self._connection.dialect.name
        return await self._read(_open_of_limits(dialect), parameters(dialect, _LIMIT, sorted(pots)))

    @override
    async def put(self, leases: Collection[NamedLease]) -> None:
        rows = [_values(named.lease) | {"service_id": named.service_id} for named in leases]
        if rows:
            await self._connection.execute(upsert(self._connection.dialect, _leases), rows)

    @override
    async def save_counters(self, leases: Collection[Lease]) -> None:
        if leases:
            dialect = self._connection.dialect.name
            rows = [(lease.account, lease.lease_id, *(getattr(lease, name) for name in _COUNTERS)) for lease in leases]
            await self._connection.execute(_save_counters(dialect), parameters(dialect, _COUNTED, rows))

    @override
    async def recall(self, keys: Collection[tuple[str, str]], now_us: int) -> None:
        for batch in in_batches(keys):
            recalled = update(_leases).where(_lease_key.in_(batch)).values(recall_requested_us=now_us)
            await self._connection.execute(recalled)

    @override
    async def recalled(self, nodes: Collection[str]) -> list[Recall]:
        dialect = self._connection.dialect.name
        rows = await self._connection.execute(_recalled(dialect), keys_of(dialect, nodes))
        return [Recall(*row) for row in rows]

    @override
    async def open_on(self, nodes: Collection[str]) -> list[str]:
        # One existence query for each node, so that not all leases of a node are read.
        is_open = exists().where(_leases.c.node == _nodes.c.node, _is_open)
        found: list[str] = []
        for batch in in_batches(nodes):
            found += (
                await self._connection.execute(select(_nodes.c.node).where(_nodes.c.node.in_(batch), is_open))
            ).scalars()
        return found

    @override
    async def open_below(self, node: str, epoch: int, limit: int) -> list[NamedLease]:
        query = select(*_lease_columns).where(_leases.c.node == node, _leases.c.epoch < epoch, _is_open)
        return await self._read_named(query.order_by(_leases.c.account_id, _leases.c.lease_id).limit(limit))

    @override
    async def left_behind(
        self, node: str, epoch: int, services: Collection[tuple[str, str]], limits: Collection[tuple[str, str]]
    ) -> list[Lease]:
        query = select(*_lease_columns).where(_leases.c.node == node, _leases.c.epoch < epoch, _is_open)
        of_service = tuple_(_leases.c.account_id, _leases.c.service_uid)
        found: list[Lease] = []
        for batch in in_batches(services):
            found += await self._read(query.where(of_service.in_(batch)))
        for batch in in_batches(limits):
            found += await self._read(query.where(tuple_(*_of_limit[:2]).in_(batch)))
        return sorted(found, key=lambda lease: (-lease.epoch, lease.lease_id))

    @override
    async def delete_settled(self, before_us: int, limit: int) -> int:
        # Joined by node and epoch, so that the many closed leases of epochs that still run are not read.
        old = (
            select(_leases.c.account_id, _leases.c.lease_id)
            .join(_nodes, and_(_leases.c.node == _nodes.c.node, _leases.c.epoch < _nodes.c.settled_below_epoch))
            .where(_is_closed, _leases.c.update_us < before_us)
            .limit(limit)
        )
        return (await self._connection.execute(delete(_leases).where(_lease_key.in_(old)))).rowcount

    @override
    async def page(self, wanted: LeaseFilter, after: tuple[int, str], limit: int) -> list[NamedLease]:
        created, lease_id = _leases.c.create_us, _leases.c.lease_id
        query = select(*_lease_columns).where(or_(created > after[0], and_(created == after[0], lease_id > after[1])))
        equal = {
            _leases.c.account_id: wanted.account_id,
            _leases.c.service_id: wanted.service_id,
            _leases.c.node: wanted.node,
        }
        query = query.where(*(column == value for column, value in equal.items() if value is not None))
        if not wanted.show_closed:
            query = query.where(_is_open)
        return await self._read_named(query.order_by(created, lease_id).limit(limit))

    @override
    async def held(self, account_id: str) -> dict[PotKey, int]:
        columns = (_leases.c.service_uid, _leases.c.kind, *_of_limit[1:])
        query = (
            select(*columns, func.sum(_leases.c.held_units))
            .where(_leases.c.account_id == account_id, _is_open)
            .group_by(*columns)
        )
        held: dict[PotKey, int] = {}
        for service_uid, kind, *limit, units in await self._connection.execute(query):
            key = PotKey.of(account_id, service_uid, PotKind(kind))
            if limit[0] is not None:
                key = PotKey.of_limit(LimitPotKey(account_id, *limit), key.kind)
            held[key] = held.get(key, 0) + int(units)
        return held

    async def _read(self, query: Select[Any], given_: Mapping[str, Any] | None = None) -> list[Lease]:
        return [_lease(row) for row in await self._connection.execute(query, given_)]

    async def _read_named(self, query: Select[Any]) -> list[NamedLease]:
        return [NamedLease(_lease(row), row.service_id) for row in await self._connection.execute(query)]


@cache
def _find(dialect: str) -> Executable:
    rows = given(dialect, _KEY)
    of_lease = and_(_leases.c.account_id == rows.c.account_id, _leases.c.lease_id == rows.c.lease_id)
    return select(*_lease_columns).where(of_lease)


@cache
def _save_counters(dialect: str) -> Executable:
    rows = given(dialect, _COUNTED)
    of_lease = and_(_leases.c.account_id == rows.c.account_id, _leases.c.lease_id == rows.c.lease_id)
    return update(_leases).where(of_lease).values({name: rows.c[name] for name in _COUNTERS})


def _values(lease: Lease) -> dict[str, object]:
    values = {name: getattr(lease, name) for name in _plain}
    values["account_id"] = values.pop("account")
    limit = _NO_LIMIT if lease.limit is None else lease.limit[1:]
    values["limit_uid"], values["member_uid"], values["period_start_us"] = limit
    return values


def _lease(row: Row[Any]) -> Lease:
    """The lease in a row of `_lease_columns`."""
    values: dict[str, Any] = dict(zip(_plain, row, strict=False))
    values["kind"] = _kinds[values["kind"]]
    if row.limit_uid is not None:
        values["limit"] = LimitPotKey(row.account_id, row.limit_uid, row.member_uid, row.period_start_us)
    return Lease(**values)


@cache
def _free() -> Select[Any]:
    """Open leases that have units which nobody has consumed, returned or holds."""
    spoken_for = _leases.c.consumed_units + _leases.c.returned_units + _leases.c.held_units
    return select(*_lease_columns).where(_is_open, _leases.c.granted_units + _leases.c.refunded_units > spoken_for)


@cache
def _free_money(dialect: str) -> Select[Any]:
    return _free().where(_leases.c.kind == PotKind.MONEY, is_one_of(dialect, _leases.c.account_id))


@cache
def _free_of_services(dialect: str) -> Select[Any]:
    rows = given(dialect, _POT)
    return _free().where(*(_leases.c[name] == rows.c[name] for name in _POT))


@cache
def _free_of_limits(dialect: str) -> Select[Any]:
    return _of_limits(_free(), dialect)


@cache
def _open_of_limits(dialect: str) -> Select[Any]:
    return _of_limits(select(*_lease_columns).where(_is_open), dialect)


def _of_limits(query: Select[Any], dialect: str) -> Select[Any]:
    rows = given(dialect, _LIMIT)
    of_limit = (_leases.c[name] == rows.c[name] for name in _LIMIT)
    return query.where(_leases.c.limit_uid.is_not(None), *of_limit)


@cache
def _recalled(dialect: str) -> Select[Any]:
    query = select(_leases.c.node, _leases.c.lease_id, _leases.c.recall_requested_us)
    return query.where(_leases.c.recall_requested_us.is_not(None), _is_open, is_one_of(dialect, _leases.c.node))
