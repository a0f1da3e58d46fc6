"""Pots of budgets as rows."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import RowMapping, Select, and_, delete, exists, not_, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.limit import LimitPotKey
from control_service.domain.limit_pot import BudgetPot
from control_service.domain.pot import PotKind
from control_service.storage import schema
from control_service.storage.limit_schema import budgets as _budgets
from control_service.usecases.batches import in_batches
from control_service.usecases.fleet_ports import LimitPots
from tallygate._server.database.upsert import upsert

_pots = schema.limit_pots
_leases = schema.leases
_columns = (_pots.c.account_id, _pots.c.limit_uid, _pots.c.member_uid, _pots.c.period_start_us)
_key = tuple_(*_columns)


class LimitPotRows(LimitPots):
    """Pots of budgets as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, keys: Collection[LimitPotKey]) -> dict[LimitPotKey, BudgetPot]:
        found: dict[LimitPotKey, BudgetPot] = {}
        for batch in in_batches(keys):
            rows = await self._connection.execute(select(_pots).where(_key.in_(batch)))
            found |= {pot.key: pot for pot in map(_pot, rows.mappings())}
        return found

    @override
    async def put(self, pots: Collection[BudgetPot]) -> None:
        if pots:
            await self._connection.execute(upsert(self._connection.dialect, _pots), [_values(pot) for pot in pots])

    @override
    async def page(self, after: LimitPotKey, limit: int) -> list[BudgetPot]:
        query = select(_pots).where(_pots.c.account_id == after.account_id, _key > tuple_(*after))
        rows = await self._connection.execute(query.order_by(*_columns).limit(limit))
        return [_pot(row) for row in rows.mappings()]

    @override
    async def most_spent(self, of_period: LimitPotKey, limit: int) -> dict[str, int]:
        query = select(_pots.c.member_uid, _pots.c.spent_units).where(
            _pots.c.account_id == of_period.account_id,
            _pots.c.limit_uid == of_period.limit_uid,
            _pots.c.period_start_us == of_period.period_start_us,
        )
        most = query.order_by(_pots.c.spent_units.desc(), _pots.c.member_uid).limit(limit)
        return {member_uid: int(units) for member_uid, units in await self._connection.execute(most)}

    @override
    async def delete_ended(self, before_us: int, limit: int) -> int:
        count = await self._delete(select(*_columns).where(_pots.c.end_us < before_us), before_us, limit)
        deleted = select(_budgets.c.account_id, _budgets.c.uid).where(_budgets.c.delete_us < before_us)
        of_deleted = select(*_columns).where(tuple_(_pots.c.account_id, _pots.c.limit_uid).in_(deleted))
        return count + await self._delete(of_deleted, before_us, limit - count)

    async def _delete(self, old: Select[*tuple[Any, ...]], before_us: int, limit: int) -> int:
        of_pot = and_(*(_leases.c[column.name] == column for column in _columns), _leases.c.limit_uid.is_not(None))
        in_use = exists().where(of_pot, or_(not_(_leases.c.closed), _leases.c.update_us >= before_us))
        unused = old.where(not_(in_use)).limit(limit)
        return (await self._connection.execute(delete(_pots).where(_key.in_(unused)))).rowcount


def _values(pot: BudgetPot) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(pot, name) for name in BudgetPot.__slots__ if name != "key"}
    return values | pot.key._asdict()


def _pot(row: RowMapping) -> BudgetPot:
    values: dict[str, Any] = dict(row)
    key = LimitPotKey(*(values.pop(column.name) for column in _columns))
    return BudgetPot(key=key, **values | {"kind": PotKind(values["kind"])})
