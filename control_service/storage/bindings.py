"""Bindings as rows."""

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, and_, delete, func, insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.binding import Binding, Grant
from control_service.storage import access_schema
from control_service.storage.scopes import is_on, is_wanted, scope_values
from control_service.usecases.access_ports import Bindings, ScopedKey, ScopeFilter
from control_service.usecases.batches import in_batches
from tallygate._access.role import Role
from tallygate._access.scope import Scope

_bindings = access_schema.bindings
_key = (_bindings.c.account_id, _bindings.c.team_id, _bindings.c.binding_id)


class BindingRows(Bindings):
    """Bindings as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def of(self, members: Collection[str]) -> list[Binding]:
        found: list[Binding] = []
        for batch in in_batches(members):
            found += await self._read(select(_bindings).where(_bindings.c.member.in_(batch)).order_by(*_key))
        return found

    @override
    async def find(self, scope: Scope, binding_id: str) -> Binding | None:
        return await self._one(and_(is_on(_bindings, scope), _bindings.c.binding_id == binding_id))

    @override
    async def same(self, grant: Grant) -> Binding | None:
        values = _values(grant)
        return await self._one(and_(*(_bindings.c[name] == value for name, value in values.items())))

    @override
    async def add(self, binding: Binding) -> None:
        own = {"binding_id": binding.binding_id, "creator": binding.creator, "create_us": binding.create_us}
        await self._connection.execute(insert(_bindings).values(_values(binding.grant) | own))

    @override
    async def delete(self, bindings: Collection[Binding]) -> None:
        keys = [(*scope_values(binding.grant.scope).values(), binding.binding_id) for binding in bindings]
        for batch in in_batches(keys):
            await self._connection.execute(delete(_bindings).where(tuple_(*_key).in_(batch)))

    @override
    async def on(self, scope: Scope) -> list[Binding]:
        return await self._read(select(_bindings).where(is_on(_bindings, scope)).order_by(*_key))

    @override
    async def owner_count(self, account_id: str) -> int:
        query = select(func.count()).where(is_on(_bindings, Scope(account_id)), _bindings.c.role == Role.OWNER)
        return int((await self._connection.execute(query)).scalar_one())

    @override
    async def page(self, wanted: ScopeFilter, member: str, after: ScopedKey, limit: int) -> list[Binding]:
        query = select(_bindings).where(is_wanted(_bindings, wanted), tuple_(*_key) > after)
        if member:
            query = query.where(_bindings.c.member == member)
        return await self._read(query.order_by(*_key).limit(limit))

    async def _one(self, is_it: ColumnElement[bool]) -> Binding | None:
        return next(iter(await self._read(select(_bindings).where(is_it))), None)

    async def _read(self, query: Select[Any]) -> list[Binding]:
        return [_binding(row) for row in (await self._connection.execute(query)).mappings()]


def _values(grant: Grant) -> dict[str, str]:
    own = {"member": grant.member, "role": grant.role, "node_names": json.dumps(grant.node_names)}
    return scope_values(grant.scope) | own


def _binding(row: RowMapping) -> Binding:
    scope = Scope(row["account_id"], row["team_id"])
    grant = Grant(scope, row["member"], Role(row["role"]), tuple(json.loads(row["node_names"])))
    return Binding(row["binding_id"], grant, row["creator"], row["create_us"])
