"""Limits and their pots by dictionaries; see `control_service.usecases.limit_ports`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

from control_service.domain.limit import Budget, Limit, LimitPotKey, LimitSubject, Place, RateRule
from control_service.domain.limit_pot import BudgetPot
from control_service.domain.rule_pot import RulePot
from tallygate.whatif.memory.tables import Tables

Pot = TypeVar("Pot", BudgetPot, RulePot)


class LimitTable:
    """Rate rules and budgets together. None is deleted."""

    def __init__(self, tables: Tables) -> None:
        self._limits, self._versions = tables.limits, tables.limit_versions

    async def find(self, account_id: str, uids: Collection[str]) -> dict[str, Limit]:
        found = {uid: self._limits[uid] for uid in uids if uid in self._limits}
        return {uid: limit for uid, limit in found.items() if limit.place.account_id == account_id}

    async def in_force(self, subjects: Collection[LimitSubject]) -> dict[LimitSubject, list[Limit]]:
        found: dict[LimitSubject, list[Limit]] = {}
        for _, limit in sorted(self._limits.items()):
            if limit.place.subject in subjects:
                found.setdefault(limit.place.subject, []).append(limit)
        return found

    async def count(self, subject: LimitSubject) -> int:
        return sum(limit.place.subject == subject for limit in self._limits.values())

    async def count_on(self, place: Place) -> int:
        return sum(limit.place == place for limit in self._limits.values())

    async def note(self, subject: LimitSubject, version: int) -> None:
        self._versions[subject] = version

    async def changed(self, since_version: int) -> set[LimitSubject]:
        return {subject for subject, version in self._versions.items() if version > since_version}


class RateRuleTable:
    """Rate rules among all limits."""

    def __init__(self, tables: Tables) -> None:
        self._limits = tables.limits

    async def find(self, subject: LimitSubject, rule_id: str) -> RateRule | None:
        found = (limit for limit in self._limits.values() if isinstance(limit, RateRule))
        return next((rule for rule in found if (rule.place.subject, rule.rule_id) == (subject, rule_id)), None)

    async def add(self, rule: RateRule) -> None:
        self._limits[rule.uid] = rule


class BudgetTable:
    """Budgets among all limits. None is raised."""

    def __init__(self, tables: Tables) -> None:
        self._limits = tables.limits

    async def find(self, account_id: str, budget_id: str) -> Budget | None:
        found = (limit for limit in self._limits.values() if isinstance(limit, Budget))
        return next((one for one in found if (one.place.account_id, one.budget_id) == (account_id, budget_id)), None)

    async def with_uids(self, keys: Collection[tuple[str, str]]) -> list[Budget]:
        found = [self._limits[uid] for _, uid in keys if uid in self._limits]
        return [limit for limit in found if isinstance(limit, Budget)]

    async def add(self, budget: Budget) -> None:
        self._limits[budget.uid] = budget


class PotTable(Generic[Pot]):
    """Pots of budgets, or of rate rules."""

    def __init__(self, pots: dict[LimitPotKey, Pot]) -> None:
        self._pots: dict[LimitPotKey, Pot] = pots

    async def find(self, keys: Collection[LimitPotKey]) -> dict[LimitPotKey, Pot]:
        return {key: self._pots[key] for key in keys if key in self._pots}

    async def put(self, pots: Iterable[Pot]) -> None:
        self._pots.update((pot.key, pot) for pot in pots)

    async def most_spent(self, *_: object) -> dict[str, int]:
        """Asked for as a budget is made, before anything is spent."""
        return {}

    async def delete_ended(self, *_: object) -> int:
        return 0
