"""Who was told lately that a budget has nothing for it now: they hear at once when it has something again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from control_service.domain.budget import BudgetKey, BudgetKind
from control_service.usecases.fleet.lease_settlement import money_of, trial_of
from control_service.usecases.ports import Transaction
from tallygate._server.clock import Clock

REMEMBERED_NS: Final = 5_000_000_000
"""Nodes ask again by themselves; so long ago nobody waits any more."""


@dataclass(slots=True)
class _Told:
    """When, and what was left of the budget then, which was too little."""

    at_ns: int
    left_units: int


class Shortages:
    """In the memory of this process: its streams are the ones on which the nodes that it told can hear of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[BudgetKey, dict[str, _Told]] = {}

    def told(self, budget: BudgetKey, service_uid: str, left_units: int) -> None:
        """A node was told that this budget falls short of what this service needs."""
        self._told.setdefault(budget, {})[service_uid] = _Told(self._clock.monotonic_ns(), left_units)

    @property
    def budgets(self) -> Collection[BudgetKey]:
        """Those that somebody was told of; what is too old is forgotten."""
        since_ns = self._clock.monotonic_ns() - REMEMBERED_NS
        for told in self._told.values():
            for uid in [uid for uid, last in told.items() if last.at_ns <= since_ns]:
                del told[uid]
        self._told = {budget: told for budget, told in self._told.items() if told}
        return self._told.keys()

    def ended(self, came_back: Collection[BudgetKey], grantable: Mapping[BudgetKey, int]) -> set[str]:
        """Services for which to ask again: their budgets got something back, or have more to give than they were told.

        Args:
            came_back: budgets to which this process brought something back.
            grantable: what budgets have to give now, whichever process brought it.
        """
        uids: set[str] = set()
        for budget in self.budgets:
            told = self._told[budget]
            left_units = grantable.get(budget, 0)
            over = [uid for uid, last in told.items() if budget in came_back or left_units > last.left_units]
            for uid in over:
                del told[uid]
            uids.update(over)
        return uids


async def look_up(tx: Transaction, budgets: Collection[BudgetKey]) -> dict[BudgetKey, int]:
    """What these have to give now. Rates are left out: of them nodes know when they will have refilled."""
    found: dict[BudgetKey, int] = {}
    owners = {key.account for key in budgets}
    if any(key.kind is BudgetKind.MONEY for key in budgets):
        for account in (await tx.books.accounts(owners)).values():
            found[BudgetKey.of(account.account_id, "", BudgetKind.MONEY)] = money_of(account).grantable_units
    uids = {key.service_uid for key in budgets if key.kind is BudgetKind.TRIAL}
    for service in await tx.books.services(owners, uids) if uids else ():
        if service.trial is not None:
            key = BudgetKey.of(service.account_id, service.uid, BudgetKind.TRIAL)
            found[key] = trial_of(service.trial).grantable_units
    return found
