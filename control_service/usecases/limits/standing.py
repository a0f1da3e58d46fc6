"""How budgets stand: what is spent in the present period, and what that stops."""

from control_service.domain.budget import Standing, standing_at
from control_service.domain.limit import Budget, LimitMember
from control_service.domain.period import period_at
from control_service.usecases.ports import Transaction


async def standing_of(_tx: Transaction, budget: Budget, now_us: int) -> Standing:
    """How the budget stands now."""
    return standing_at(budget, _stated_units(budget, now_us), now_us)


def _stated_units(budget: Budget, now_us: int) -> dict[str, int]:
    """What is spent before the first lease: what the budget's maker stated, in the period in which it was made."""
    period = period_at(budget.period, budget.time_zone, now_us)
    is_stated = budget.member is LimitMember.SHARED and period.start_us <= budget.create_us
    return {"": budget.initial_spent_units} if is_stated else {}
