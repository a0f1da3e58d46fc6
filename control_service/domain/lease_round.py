"""One exchange: all that a node says of its leases, worked through in order against the budgets behind them. Pure.

First everything is settled, then needs are served, then what nodes would like to have ahead of need: so what one
statement returns serves another, and no prefetch takes what a request is waiting for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from control_service.domain.budget import USED_UNITS_MAX, Budget, BudgetKey
from control_service.domain.lease import (
    Lease,
    Statement,
    extend,
    fits,
    may_have_more,
    settle,
    units_for_need,
    units_for_prefetch,
)


@dataclass(slots=True)
class Claim:
    """A statement, the lease it speaks of, and what becomes of it.

    `pays`: whether the budget pays for the lease's service now; where not, nothing is granted. `fits`: whether what is
    stated is within bounds; where not, nothing of it was taken in. `recall_waits`: see `settle`.
    """

    statement: Statement
    before: Lease
    pays: bool
    recall_waits: bool = False
    lease: Lease = field(init=False)
    spent_units: int = field(init=False, default=0)
    fits: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        self.lease = self.before

    @property
    def falls_short(self) -> bool:
        """Whether requests still wait for units that an open lease does not have."""
        return not self.lease.closed and self.lease.free_units < self.statement.needed_units


class Exchange:
    """The budgets while claims on them are worked through."""

    def __init__(self, budgets: Mapping[BudgetKey, Budget], now_us: int) -> None:
        self.budgets = dict(budgets)
        self.came_back: set[BudgetKey] = set()
        self.now_us = now_us

    def take(self, claims: Iterable[Claim]) -> None:
        """Works through the claims; afterwards each has its lease, and `budgets` are as the exchange leaves them."""
        fitting = [claim for claim in claims if self._settle(claim)]
        served = [claim for claim in fitting if claim.pays and may_have_more(claim.before, claim.statement)]
        for claim in served:
            budget = self.budgets[claim.lease.budget]
            self._lend(claim, units_for_need(claim.lease, claim.statement, budget.grantable_units))
        for claim in served:
            budget = self.budgets[claim.lease.budget]
            units = units_for_prefetch(claim.lease, claim.statement, budget.grantable_units, budget.spare_units)
            self._lend(claim, units)

    def _settle(self, claim: Claim) -> bool:
        """Takes in what a statement says, unless it or what it makes of the budget is out of bounds."""
        settlement = settle(claim.before, claim.statement, self.now_us, recall_waits=claim.recall_waits)
        key = claim.before.budget
        budget = self.budgets[key].settled(spent_units=settlement.spent_units, released_units=settlement.released_units)
        in_use_units = budget.leased_units + budget.spent_units
        claim.fits = fits(claim.before, claim.statement) and (
            settlement.spent_units == 0 or in_use_units <= USED_UNITS_MAX
        )
        if not claim.fits:
            return False
        claim.lease, claim.spent_units = settlement.lease, settlement.spent_units
        self.budgets[key] = budget
        if settlement.came_back_units:
            self.came_back.add(key)
        return True

    def _lend(self, claim: Claim, units: int) -> None:
        if units:
            key = claim.lease.budget
            claim.lease = extend(claim.lease, units)
            self.budgets[key] = self.budgets[key].lent(units)
