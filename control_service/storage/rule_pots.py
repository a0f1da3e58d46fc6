"""Pots of rate rules as rows."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import RowMapping, and_, delete, exists, not_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.limit import LimitPotKey
from control_service.domain.pot import PotKind, Quantity
from control_service.domain.rate_pot import RatePot
from control_service.domain.rule_pot import RulePot
from control_service.storage import schema
from control_service.storage.limit_schema import rate_rules as _rules
from control_service.storage.limit_schema import rule_pots as _pots
from control_service.usecases.batches import in_batches
from control_service.usecases.limit_ports import RulePots
from tallygate._server.database.upsert import upsert

_leases = schema.leases
_columns = (_pots.c.account_id, _pots.c.limit_uid)
_key = tuple_(*_columns)


class RulePotRows(RulePots):
    """Pots of rate rules as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, keys: Collection[LimitPotKey]) -> dict[LimitPotKey, RulePot]:
        found: dict[LimitPotKey, RulePot] = {}
        for batch in in_batches([key[:2] for key in keys]):
            rows = await self._connection.execute(select(_pots).where(_key.in_(batch)))
            found |= {pot.key: pot for pot in map(_pot, rows.mappings())}
        return found

    @override
    async def put(self, pots: Collection[RulePot]) -> None:
        if pots:
            await self._connection.execute(upsert(self._connection.dialect, _pots), [_values(pot) for pot in pots])

    @override
    async def page(self, after: LimitPotKey, limit: int) -> list[RulePot]:
        query = select(_pots).where(_pots.c.account_id == after.account_id, _pots.c.limit_uid > after.limit_uid)
        rows = await self._connection.execute(query.order_by(_pots.c.limit_uid).limit(limit))
        return [_pot(row) for row in rows.mappings()]

    @override
    async def delete_ended(self, before_us: int, limit: int) -> int:
        is_there = exists().where(_rules.c.uid == _pots.c.limit_uid, _rules.c.delete_us.is_(None))
        in_use = exists().where(
            and_(_leases.c.account_id == _pots.c.account_id, _leases.c.limit_uid == _pots.c.limit_uid),
            not_(_leases.c.closed),
        )
        old = select(*_columns).where(_pots.c.updated_us < before_us, not_(is_there), not_(in_use)).limit(limit)
        return (await self._connection.execute(delete(_pots).where(_key.in_(old)))).rowcount


def _values(pot: RulePot) -> dict[str, object]:
    units = pot.units
    if isinstance(units, Quantity):
        units = RatePot(units.capacity_units, 0, 0, 0, 0, units.leased_units, units.spent_units)
    values: dict[str, object] = {name: getattr(units, name) for name in RatePot.__slots__}
    return values | {"account_id": pot.key.account_id, "limit_uid": pot.key.limit_uid, "kind": pot.kind}


def _pot(row: RowMapping) -> RulePot:
    values: dict[str, Any] = dict(row)
    key, kind = LimitPotKey(values.pop("account_id"), values.pop("limit_uid")), PotKind(values.pop("kind"))
    if kind is PotKind.SLOTS:
        return RulePot(key, Quantity(values["limit_units"], values["leased_units"], values["spent_units"]))
    return RulePot(key, RatePot(**values))
