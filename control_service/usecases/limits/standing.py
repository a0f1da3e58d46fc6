"""How budgets stand: what is spent in the present period, and what that stops."""

from control_service.domain.budget import STOPPED_MAX, Standing, standing_at
from control_service.domain.limit import Budget, LimitMember, LimitPotKey
from control_service.domain.period import Period, period_at
from control_service.usecases.ports import Transaction


async def standing_of(tx: Transaction, budget: Budget, now_us: int) -> Standing:
    """How the budget stands now."""
    period = period_at(budget.period, budget.time_zone, now_us)
    of_period = LimitPotKey(budget.place.account_id, budget.uid, period_start_us=period.start_us)
    spent_units = await tx.limit_pots.most_spent(of_period, STOPPED_MAX)
    return standing_at(budget, spent_units or _stated_units(budget, period), now_us)


def _stated_units(budget: Budget, period: Period) -> dict[str, int]:
    """What is spent before the first lease: what the budget's maker stated, in the period in which it was made."""
    is_stated = budget.member is LimitMember.SHARED and period.start_us <= budget.create_us
    return {"": budget.initial_spent_units} if is_stated else {}
