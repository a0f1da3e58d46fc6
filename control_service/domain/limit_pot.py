"""The pots of budgets: what of a period's amount is leased and spent, when there is such a pot, and when it is leased.

A request belongs to the period that is current on its node when it is authorised, and is charged to that period's pot
until it ends. So a pot is leased from for a while after its period, and shortly before it for clocks that are ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from control_service.domain.limit import Budget, BudgetUnit, LimitMember, LimitPotKey
from control_service.domain.period import period_at
from control_service.domain.pot import PotKey, PotKind, Quantity, Uncapped
from control_service.domain.threshold import percent_reached

BEGINS_EARLY_US: Final = 5_000_000
"""Maximum time before a period's begin by control's clock at which a node's may have begun it."""

LEASABLE_AFTER_END_US: Final = 86_400_000_000
"""Time after its period's end for which a pot is leased from: no request runs for longer."""

KIND_OF_UNIT: Final = {BudgetUnit.TOKENS: PotKind.BUDGET_TOKENS, BudgetUnit.MONEY: PotKind.BUDGET_MONEY}
"""Kind of the pots of a budget, by what the budget is counted in."""


@dataclass(frozen=True, slots=True)
class BudgetPot:
    """A budget's pot of one period, shared or of one member.

    `capacity_units` is the amount in force when the pot was leased from last. `end_us`: when its period ends;
    None of one that is for ever. `told_percent` is the threshold that it stands at, see threshold.py; 0 is none.
    """

    key: LimitPotKey
    kind: PotKind
    capacity_units: int
    leased_units: int = 0
    spent_units: int = 0
    end_us: int | None = None
    told_percent: int = 0

    @property
    def pot_key(self) -> PotKey:
        """The pot's key among those of all kinds."""
        return PotKey.of_limit(self.key, self.kind)

    @property
    def available_units(self) -> int:
        """Capacity less what is leased and what is spent; below zero in debt, or after the amount was lowered."""
        return self.capacity_units - self.leased_units - self.spent_units

    def is_leasable(self, now_us: int) -> bool:
        """Whether requests of its period may still run."""
        return self.end_us is None or now_us < self.end_us + LEASABLE_AFTER_END_US

    def at(self, budget: Budget, now_us: int) -> BudgetPot:
        """The pot with the amount that is in force now: a change of it never restarts a count."""
        return replace(self, capacity_units=budget.amount_at(now_us))

    def as_quantity(self, *, soft: bool) -> Quantity:
        """The pot as leases see it; one of a soft budget only counts."""
        of_kind = Uncapped if soft else Quantity
        return of_kind(self.capacity_units, self.leased_units, self.spent_units)

    def after(self, units: Quantity) -> BudgetPot:
        """The pot with what is leased and spent after statements."""
        return replace(self, leased_units=units.leased_units, spent_units=units.spent_units)

    def told(self, budget: Budget) -> BudgetPot:
        """The pot at the threshold that is reached, of the amount in force; a raised amount arms those beyond again."""
        reached = percent_reached(budget.threshold_percents, self.spent_units, self.capacity_units)
        return replace(self, told_percent=reached)


def new_pot(budget: Budget, key: LimitPotKey, kind: PotKind, now_us: int) -> BudgetPot | None:
    """A budget's pot before its first lease; None where the budget has no such pot, or not yet.

    What its maker says was spent before counts in the period in which the budget was made, where all count together.
    """
    is_shared = budget.member is LimitMember.SHARED
    if KIND_OF_UNIT[budget.unit] is not kind or is_shared != (not key.member_uid):
        return None
    period = period_at(budget.period, budget.time_zone, key.period_start_us)
    if period.start_us != key.period_start_us or period.start_us > now_us + BEGINS_EARLY_US:
        return None
    # The clock that the budget was made by may be ahead of this one: it may be made in a day that is yet to come.
    if period.end_us is not None and period.end_us + LEASABLE_AFTER_END_US <= min(budget.create_us, now_us):
        return None
    is_first = is_shared and period.start_us <= budget.create_us
    return BudgetPot(
        key=key,
        kind=kind,
        capacity_units=budget.amount_at(now_us),
        spent_units=budget.initial_spent_units if is_first else 0,
        end_us=period.end_us,
    )
