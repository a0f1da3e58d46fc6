"""The survey of the database, for metrics."""

from dataclasses import replace

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.input_bounds import AMOUNT_NANOS_MAX, FUNDS_NANOS_MAX
from control_service.domain.limit import Budget, BudgetPeriod, BudgetUnit, LimitPotKey, Place, PlaceKind
from control_service.domain.limit_pot import BudgetPot
from control_service.domain.pot import PotKind
from control_service.storage import schema
from control_service.usecases.survey_ports import MoneySums
from control_service.usecases.upkeep.surveyor import Surveyor
from tests.harness.control.people_harness import Desk

NOW_US = 1_000
_SERVICES = schema.services


def pot(name: str, spent: int, *, capacity: int = 1_000, end_us: int | None = None) -> BudgetPot:
    key = LimitPotKey("acme", name, "", 0)
    return BudgetPot(key, PotKind.BUDGET_TOKENS, capacity, spent_units=spent, end_us=end_us)


async def test_services_and_pots_are_counted(desk: Desk, engine: AsyncEngine) -> None:
    """Services by status. A pot is low with less than a tenth; a period or budget that is over has none any more."""
    await desk.create("chat")
    await desk.create("other")
    await desk.claim("chat")
    async with engine.begin() as connection:
        await connection.execute(update(_SERVICES).values(trial_spent_tokens=900))
    assert (await desk.database.survey(NOW_US)).pots_low == {"TRIAL": 0}
    async with engine.begin() as connection:
        await connection.execute(update(_SERVICES).values(trial_spent_tokens=901))
    async with desk.database.writing() as tx:
        periods = [pot("ended", 901, end_us=NOW_US), pot("runs", 901, end_us=NOW_US + 1)]
        huge = pot("huge", 10**18, capacity=10**18)
        pots = [*periods, pot("overspent", 1_001), pot("tenth", 900), huge, pot("deleted", 901)]
        await tx.limit_pots.put(pots)
        for name in (each.key.limit_uid for each in pots):
            budget = Budget(name, name, Place(PlaceKind.ACCOUNT, "acme"), BudgetUnit.TOKENS, 1_000, BudgetPeriod.IN_ALL)
            await tx.budgets.add(replace(budget, delete_us=1 if name == "deleted" else None))
    found = await desk.database.survey(NOW_US)
    assert found.pots_low == {"TRIAL": 1, "BUDGET_TOKENS": 3}
    assert found.services == {"ACTIVATING": 1, "NOT_ENABLED": 1}
    assert found.deliveries_waiting == 0


async def test_money_is_summed_by_currency(desk: Desk) -> None:
    """Also where a sum is greater than any integer of the database; accounts that are overdue are counted."""
    rich = replace(
        await desk.account(),
        funds_nanos=FUNDS_NANOS_MAX,
        spent_nanos=7,
        leased_nanos=3,
        credit_limit_nanos=AMOUNT_NANOS_MAX,
        overdue_us=5,
    )
    async with desk.database.writing() as tx:
        for number in range(6):
            name, currency = f"a{number}", ("EUR", "CHF")[number % 2]
            await tx.accounts.add(replace(rich, account_id=name, uid=name, currency_code=currency))
    surveyor = Surveyor(desk.database, desk.clock)
    await surveyor.survey()
    found = surveyor.latest
    assert found is not None
    sums = MoneySums(3.0 * FUNDS_NANOS_MAX, 21.0, 9.0, 3.0 * AMOUNT_NANOS_MAX)
    assert found.money == {"EUR": sums, "CHF": sums, "USD": MoneySums(0.0, 0.0, 0.0, 0.0)}
    assert (found.account_count, found.accounts_overdue, found.accounts_at_threshold) == (7, 6, 0)
