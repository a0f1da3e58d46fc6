"""Ports of limits: what use cases need of a transaction besides `ports`: rate rules, budgets, and when they changed.

A change to a limit locks its account first; one to a model's rule locks the globals.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from control_service.domain.limit import Budget, Limit, LimitPotKey, LimitSubject, Place, RateRule
from control_service.domain.rule_pot import RulePot


@dataclass(frozen=True, slots=True)
class LimitFilter:
    """The limits to list, without deleted ones.

    `place`: only what hangs on it. `team_ids`: of an account, only what hangs on these teams and on what is in them;
    None where all may be seen.
    """

    subject: LimitSubject
    place: Place | None = None
    team_ids: frozenset[str] | None = None


class RateRules(Protocol):
    """The rate rules of all accounts and models."""

    async def find(self, subject: LimitSubject, rule_id: str) -> RateRule | None:
        """The rule, tombstones included; None if there never was one."""

    async def add(self, rule: RateRule) -> None:
        """Stores a new rule. Raises ResourceExistsError if the name is or was in use."""

    async def save(self, rule: RateRule) -> None:
        """Stores the rule as it is now."""

    async def page(self, wanted: LimitFilter, after: str, limit: int) -> list[RateRule]:
        """Rules whose id is greater than `after`, by id."""


class Budgets(Protocol):
    """The budgets of all accounts."""

    async def find(self, account_id: str, budget_id: str) -> Budget | None:
        """The budget, tombstones included; None if there never was one."""

    async def with_uids(self, keys: Collection[tuple[str, str]]) -> list[Budget]:
        """Those of these budgets, of any account, that are not deleted."""

    async def add(self, budget: Budget) -> None:
        """Stores a new budget. Raises ResourceExistsError if the name is or was in use."""

    async def save(self, budget: Budget) -> None:
        """Stores the budget as it is now; its account was locked."""

    async def end_raise(self, budget: Budget) -> None:
        """Notes that the end of the budget's raise was dealt with; its account was locked."""

    async def page(self, wanted: LimitFilter, after: str, limit: int) -> list[Budget]:
        """Budgets whose id is greater than `after`, by id."""


class Limits(Protocol):
    """Rate rules and budgets together."""

    async def find(self, account_id: str, uids: Collection[str]) -> dict[str, Limit]:
        """Those of these limits that bind the account, by uid: its own, and models' rules; no deleted ones."""

    async def in_force(self, subjects: Collection[LimitSubject]) -> dict[LimitSubject, list[Limit]]:
        """The limits of these accounts and models, by uid; who has none is left out."""

    async def count(self, subject: LimitSubject) -> int:
        """The number of limits of an account or a model."""

    async def count_on(self, place: Place) -> int:
        """The number of limits that hang on this."""

    async def end_on(self, place: Place, now_us: int) -> int:
        """Leaves tombstones of the limits that hang on this; its account is locked. Returns how many."""

    async def note(self, subject: LimitSubject, version: int) -> None:
        """Notes that limits of this account or model changed with this configuration version."""

    async def changed(self, since_version: int) -> set[LimitSubject]:
        """The accounts and models whose limits changed with a later version than this."""


class RulePots(Protocol):
    """The pots of rate rules of all accounts; each belongs to an account, and is locked with it."""

    async def find(self, keys: Collection[LimitPotKey]) -> dict[LimitPotKey, RulePot]:
        """Those of these pots that were leased from before."""

    async def put(self, pots: Collection[RulePot]) -> None:
        """Stores these pots as they are now."""

    async def page(self, after: LimitPotKey, limit: int) -> list[RulePot]:
        """Pots of the account of `after` whose key is greater, by key."""

    async def delete_ended(self, before_us: int, limit: int) -> int:
        """Deletes pots whose rules are gone and that have no lease, nor had one since; returns how many."""
