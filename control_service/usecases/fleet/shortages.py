"""Shortages: budgets that had too little for a service lately, whose nodes are notified when there is more.

Shortages are in the memory of one process. The nodes that this process answered have their streams here as well, so it
is this process that can notify them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from control_service.domain.budget import BudgetKey, BudgetKind
from control_service.usecases.fleet.lease_settlement import money_of, trial_of
from control_service.usecases.ports import Transaction
from tallygate._server.clock import Clock

REMEMBERED_NS: Final = 5_000_000_000
"""Time after which a shortage is forgotten: by then nodes have requested again by themselves."""


@dataclass(slots=True)
class _Shortage:
    """When a budget fell short, and how many units it had left then."""

    at_ns: int
    left_units: int


class Shortages:
    """The shortages that nodes were answered, by budget and service."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._noted: dict[BudgetKey, dict[str, _Shortage]] = {}

    def note(self, budget: BudgetKey, service_uid: str, left_units: int) -> None:
        """Notes that a node was answered that this budget falls short of what this service needs."""
        self._noted.setdefault(budget, {})[service_uid] = _Shortage(self._clock.monotonic_ns(), left_units)

    @property
    def budgets(self) -> Collection[BudgetKey]:
        """Budgets with a shortage; shortages that are too old are forgotten first."""
        since_ns = self._clock.monotonic_ns() - REMEMBERED_NS
        for noted in self._noted.values():
            for uid in [uid for uid, last in noted.items() if last.at_ns <= since_ns]:
                del noted[uid]
        self._noted = {budget: noted for budget, noted in self._noted.items() if noted}
        return self._noted.keys()

    def ended(self, came_back: Collection[BudgetKey], grantable: Mapping[BudgetKey, int]) -> list[str]:
        """Forgets the shortages that are over; returns the uids of their services, for which nodes may request again.

        A shortage is over when its budget got something back, or has more to grant than when it fell short.

        Args:
            came_back: budgets to which this process brought something back.
            grantable: units that each budget can grant now, whichever process brought them back.
        """
        uids: dict[str, None] = {}
        for budget in self.budgets:
            noted = self._noted[budget]
            left_units = grantable.get(budget, 0)
            over = [uid for uid, last in noted.items() if budget in came_back or left_units > last.left_units]
            for uid in over:
                del noted[uid]
            uids |= dict.fromkeys(over)
        return list(uids)


async def query_grantable(tx: Transaction, budgets: Collection[BudgetKey]) -> dict[BudgetKey, int]:
    """Units that these budgets can grant now. Rates are left out: nodes know when a rate will have refilled."""
    found: dict[BudgetKey, int] = {}
    owners = {key.account for key in budgets}
    if any(key.kind is BudgetKind.MONEY for key in budgets):
        for account in (await tx.batches.accounts(owners)).values():
            found[BudgetKey.of(account.account_id, "", BudgetKind.MONEY)] = money_of(account).grantable_units
    uids = {key.service_uid for key in budgets if key.kind is BudgetKind.TRIAL}
    for service in await tx.batches.services(owners, uids) if uids else ():
        if service.trial is not None:
            key = BudgetKey.of(service.account_id, service.uid, BudgetKind.TRIAL)
            found[key] = trial_of(service.trial).grantable_units
    return found
