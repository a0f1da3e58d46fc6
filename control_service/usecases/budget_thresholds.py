"""Thresholds of a budget that another amount, or the end of a raise, has brought it to: they are told of at once."""

from __future__ import annotations

from typing import Final

from control_service.domain.limit import Budget, LimitPotKey
from control_service.domain.period import period_at
from control_service.usecases.alert_log import tell_of_budget
from control_service.usecases.ports import Transaction

JUDGED_MAX: Final = 100
"""Maximum number of members whose pots are looked at: those of which most is spent. Others tell as they are leased."""


async def judge_thresholds(tx: Transaction, budget: Budget, now_us: int) -> None:
    """Tells of further thresholds that pots of the present period have reached; those fallen behind are armed again.

    The account is locked, and the budget is not deleted.
    """
    period = period_at(budget.period, budget.time_zone, now_us)
    of_period = LimitPotKey(budget.place.account_id, budget.uid, period_start_us=period.start_us)
    members = await tx.limit_pots.most_spent(of_period, JUDGED_MAX)
    pots = await tx.limit_pots.find([of_period._replace(member_uid=member_uid) for member_uid in members])
    changed = []
    for before in sorted(pots.values(), key=lambda pot: pot.key):
        pot = before.at(budget, now_us).told(budget)
        if pot.told_percent != before.told_percent:
            changed.append(pot)
        if pot.told_percent > before.told_percent:
            await tell_of_budget(tx, budget, pot, now_us)
    await tx.limit_pots.put(changed)
