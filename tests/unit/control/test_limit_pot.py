"""The pots of budgets by themselves: thresholds, and what a pot is before its first lease."""

from dataclasses import replace

import pytest

from control_service.domain.limit import Budget, BudgetPeriod, BudgetUnit, LimitPotKey, Place, PlaceKind
from control_service.domain.limit_pot import BudgetPot, new_pot
from control_service.domain.period import period_at
from control_service.domain.pot import PotKind, Quantity, Uncapped

NOW_US = 1_790_000_000_000_000
BUDGET = Budget(
    budget_id="cap",
    uid="uid",
    place=Place(PlaceKind.ACCOUNT, "acme"),
    unit=BudgetUnit.TOKENS,
    amount_units=1_000,
    period=BudgetPeriod.WEEK,
    threshold_percents=(50, 80, 100),
    create_us=NOW_US,
)
POT = BudgetPot(LimitPotKey("acme", "uid"), PotKind.BUDGET_TOKENS, 1_000)


@pytest.mark.parametrize(
    ("spent", "told", "reached"),
    [
        (0, 0, 0),
        (499, 0, 0),
        (500, 0, 50),
        (799, 50, 50),
        (800, 50, 80),
        (1_000, 0, 100),
        (5_000, 100, 100),
        (600, 80, 50),
    ],
)
def test_a_pot_stands_at_the_highest_threshold_that_is_reached(spent: int, told: int, reached: int) -> None:
    """However many lie between; after a raise, at a lower one than before."""
    assert replace(POT, spent_units=spent, told_percent=told).told(BUDGET).told_percent == reached


def test_nothing_spent_reaches_nothing_and_of_nothing_all_is_spent_at_once() -> None:
    """An amount of 0 is a cap as well."""
    nothing = replace(POT, capacity_units=0)
    assert nothing.told(BUDGET).told_percent == 0
    assert replace(nothing, spent_units=1).told(BUDGET).told_percent == 100


def test_a_pot_is_of_its_period_before_its_first_lease() -> None:
    """Its end is worked out once."""
    period = period_at(BUDGET.period, "UTC", NOW_US)
    pot = new_pot(BUDGET, LimitPotKey("acme", "uid", "", period.start_us), PotKind.BUDGET_TOKENS, NOW_US)
    assert pot is not None
    assert (pot.capacity_units, pot.available_units, pot.end_us) == (1_000, 1_000, period.end_us)
    for_ever = replace(BUDGET, period=BudgetPeriod.IN_ALL)
    pot = new_pot(for_ever, LimitPotKey("acme", "uid"), PotKind.BUDGET_TOKENS, NOW_US)
    assert pot is not None
    assert pot.end_us is None


def test_a_budget_made_by_a_clock_that_is_ahead_counts_in_the_period_of_the_others() -> None:
    """Nodes are told of that period, and charge requests to it, before it is over and a moment after."""
    period = period_at(BUDGET.period, "UTC", NOW_US)
    assert period.end_us is not None
    ahead = replace(BUDGET, create_us=period.end_us + 3_600_000_000)
    key = LimitPotKey("acme", "uid", "", period.start_us)
    for now_us in (NOW_US, period.end_us + 1, ahead.create_us + 1):
        assert new_pot(ahead, key, PotKind.BUDGET_TOKENS, now_us) is not None


def test_a_soft_pot_only_counts() -> None:
    """Below zero as well as above it."""
    spent = replace(POT, spent_units=1_200)
    hard, soft = spent.as_quantity(soft=False), spent.as_quantity(soft=True)
    assert (type(hard), hard.grantable_units, hard.available_units) == (Quantity, 0, -200)
    assert (type(soft), soft.available_units) == (Uncapped, -200)
    assert soft.grantable_units == soft.spare_units > 10**18
    assert type(soft.lent(5)) is Uncapped
    assert spent.after(soft.lent(5)).leased_units == 5
