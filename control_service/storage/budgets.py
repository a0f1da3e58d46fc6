"""Budgets as rows."""

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.errors import ResourceExistsError
from control_service.domain.limit import Budget, BudgetPeriod, BudgetUnit, LimitMember
from control_service.storage.limit_places import is_wanted, place_of, place_values
from control_service.storage.limit_schema import budgets as _budgets
from control_service.usecases.batches import in_batches
from control_service.usecases.limit_ports import Budgets, LimitFilter


class BudgetRows(Budgets):
    """Budgets as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, account_id: str, budget_id: str) -> Budget | None:
        found = await self._connection.execute(select(_budgets).where(_key(account_id, budget_id)))
        row = found.mappings().one_or_none()
        return None if row is None else budget_of(row)

    @override
    async def with_uids(self, keys: Collection[tuple[str, str]]) -> list[Budget]:
        key, found = tuple_(_budgets.c.account_id, _budgets.c.uid), list[Budget]()
        for batch in in_batches(keys):
            query = select(_budgets).where(key.in_(batch), _budgets.c.delete_us.is_(None))
            found += map(budget_of, (await self._connection.execute(query)).mappings())
        return found

    @override
    async def add(self, budget: Budget) -> None:
        try:
            await self._connection.execute(insert(_budgets).values(_values(budget)))
        except IntegrityError as error:
            raise ResourceExistsError(budget.name) from error

    @override
    async def save(self, budget: Budget) -> None:
        key = _key(budget.place.account_id, budget.budget_id)
        await self._connection.execute(update(_budgets).where(key).values(_values(budget)))

    @override
    async def end_raise(self, budget: Budget) -> None:
        key = _key(budget.place.account_id, budget.budget_id)
        await self._connection.execute(update(_budgets).where(key).values(raise_due_us=None))

    @override
    async def page(self, wanted: LimitFilter, after: str, limit: int) -> list[Budget]:
        query = select(_budgets).where(is_wanted(_budgets, wanted), _budgets.c.budget_id > after)
        rows = await self._connection.execute(query.order_by(_budgets.c.budget_id).limit(limit))
        return [budget_of(row) for row in rows.mappings()]


def budget_of(row: RowMapping) -> Budget:
    """The budget in a row."""
    return Budget(
        budget_id=row["budget_id"],
        uid=row["uid"],
        place=place_of(row),
        unit=BudgetUnit(row["unit"]),
        amount_units=row["amount_units"],
        period=BudgetPeriod(row["period"]),
        time_zone=row["time_zone"],
        member=LimitMember(row["member"]),
        soft=row["soft"],
        raised_units=row["raised_units"],
        raised_until_us=row["raised_until_us"],
        initial_spent_units=row["initial_spent_units"],
        threshold_percents=tuple(json.loads(row["threshold_percents"])),
        create_us=row["create_us"],
        update_us=row["update_us"],
        delete_us=row["delete_us"],
    )


def _values(budget: Budget) -> dict[str, Any]:
    return place_values(budget.place) | {
        "budget_id": budget.budget_id,
        "uid": budget.uid,
        "unit": budget.unit,
        "amount_units": budget.amount_units,
        "period": budget.period,
        "time_zone": budget.time_zone,
        "member": budget.member,
        "soft": budget.soft,
        "raised_units": budget.raised_units,
        "raised_until_us": budget.raised_until_us,
        "raise_due_us": budget.raised_until_us,
        "initial_spent_units": budget.initial_spent_units,
        "threshold_percents": json.dumps(budget.threshold_percents),
        "create_us": budget.create_us,
        "update_us": budget.update_us,
        "delete_us": budget.delete_us,
    }


def _key(account_id: str, budget_id: str) -> ColumnElement[bool]:
    return and_(_budgets.c.account_id == account_id, _budgets.c.budget_id == budget_id)
