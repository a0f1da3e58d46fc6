"""Principals as rows."""

import json
from collections.abc import Collection
from dataclasses import asdict

from sqlalchemy import RowMapping, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.principal import Principal
from control_service.storage import access_schema
from control_service.usecases.access_ports import Principals
from control_service.usecases.batches import in_batches
from tallygate._server.database.upsert import upsert

_principals = access_schema.principals


class PrincipalRows(Principals):
    """Principals as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def get(self, member: str) -> Principal:
        return (await self.get_all([member]))[member]

    @override
    async def get_all(self, members: Collection[str]) -> dict[str, Principal]:
        found = {member: Principal(member) for member in members}
        for batch in in_batches(members):
            query = select(_principals).where(_principals.c.member.in_(batch))
            rows = (await self._connection.execute(query)).mappings()
            found.update((principal.member, principal) for principal in map(_principal, rows))
        return found

    @override
    async def save(self, principal: Principal) -> None:
        values = asdict(principal) | {"groups": json.dumps(principal.groups)}
        await self._connection.execute(upsert(self._connection.dialect, _principals), [values])

    @override
    async def disabled(self, members: Collection[str]) -> frozenset[str]:
        query = select(_principals.c.member).where(_principals.c.disabled)
        found: set[str] = set()
        for batch in in_batches(members):
            found.update((await self._connection.execute(query.where(_principals.c.member.in_(batch)))).scalars())
        return frozenset(found)

    @override
    async def page(self, after: str, limit: int, *, disabled_only: bool) -> list[Principal]:
        is_of_interest = or_(_principals.c.disabled, _principals.c.last_sign_in_us.is_not(None))
        query = select(_principals).where(
            _principals.c.member > after, _principals.c.disabled if disabled_only else is_of_interest
        )
        rows = await self._connection.execute(query.order_by(_principals.c.member).limit(limit))
        return [_principal(row) for row in rows.mappings()]


def _principal(row: RowMapping) -> Principal:
    return Principal(**{**row, "groups": tuple(json.loads(row["groups"]))})
