"""Rate rules and budgets together, and the versions with which those of an account or a model changed last."""

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.limit import Limit, LimitSubject, Place
from control_service.storage.budgets import budget_of
from control_service.storage.limit_places import hangs_on
from control_service.storage.limit_schema import budgets as _budgets
from control_service.storage.limit_schema import limit_versions as _versions
from control_service.storage.limit_schema import rate_rules as _rules
from control_service.storage.rate_rules import rate_rule_of
from control_service.usecases.batches import in_batches
from control_service.usecases.limit_ports import Limits
from tallygate._server.database.upsert import upsert


class LimitRows(Limits):
    """Rate rules and budgets as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def find(self, account_id: str, uids: Collection[str]) -> dict[str, Limit]:
        found: dict[str, Limit] = {}
        for batch in in_batches(uids):
            binds = _rules.c.account_id.in_((account_id, ""))
            limits = await self._read(
                and_(_rules.c.uid.in_(batch), binds),
                and_(_budgets.c.uid.in_(batch), _budgets.c.account_id == account_id),
            )
            found.update((limit.uid, limit) for limit in limits)
        return found

    @override
    async def in_force(self, subjects: Collection[LimitSubject]) -> dict[LimitSubject, list[Limit]]:
        found: dict[LimitSubject, list[Limit]] = defaultdict(list)
        accounts = [subject.account_id for subject in subjects if subject.account_id]
        models = [subject.model_id for subject in subjects if subject.model_id]
        of_models = and_(_rules.c.account_id == "", _rules.c.of_model_id.in_(models))
        limits = await self._read(
            or_(_rules.c.account_id.in_(accounts), of_models), _budgets.c.account_id.in_(accounts)
        )
        for limit in sorted(limits, key=lambda one: one.uid):
            found[limit.place.subject].append(limit)
        return dict(found)

    @override
    async def count(self, subject: LimitSubject) -> int:
        rules = and_(_rules.c.account_id == subject.account_id, _rules.c.of_model_id == subject.model_id)
        counted = await self._count(_rules, rules)
        if subject.account_id:
            counted += await self._count(_budgets, _budgets.c.account_id == subject.account_id)
        return counted

    @override
    async def count_on(self, place: Place) -> int:
        return await self._count(_rules, hangs_on(_rules, place)) + await self._count(
            _budgets, hangs_on(_budgets, place)
        )

    @override
    async def end_on(self, place: Place, now_us: int) -> int:
        count = 0
        for table in (_rules, _budgets):
            ended = update(table).where(hangs_on(table, place)).values(delete_us=now_us, update_us=now_us)
            count += (await self._connection.execute(ended)).rowcount
        return count

    @override
    async def note(self, subject: LimitSubject, version: int) -> None:
        row = {"account_id": subject.account_id, "model_id": subject.model_id, "config_version": version}
        await self._connection.execute(upsert(self._connection.dialect, _versions), [row])

    @override
    async def changed(self, since_version: int) -> set[LimitSubject]:
        query = select(_versions.c.account_id, _versions.c.model_id).where(_versions.c.config_version > since_version)
        return {LimitSubject(*row) for row in await self._connection.execute(query)}

    async def _read(self, rules: ColumnElement[bool], budgets: ColumnElement[bool]) -> list[Limit]:
        of_rules = await self._connection.execute(select(_rules).where(rules, _rules.c.delete_us.is_(None)))
        of_budgets = await self._connection.execute(select(_budgets).where(budgets, _budgets.c.delete_us.is_(None)))
        return [*map(rate_rule_of, of_rules.mappings()), *map(budget_of, of_budgets.mappings())]

    async def _count(self, table: Table, which: ColumnElement[Any]) -> int:
        query = select(func.count()).select_from(table).where(which, table.c.delete_us.is_(None))
        return int((await self._connection.execute(query)).scalar_one())
