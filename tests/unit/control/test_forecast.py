"""When something is used up at the pace that is measured, and when nobody can tell."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_service.domain.budget import standing_at
from control_service.domain.forecast import AHEAD_US_MAX, PACE_US_MIN, Pace
from control_service.domain.limit import Budget, BudgetPeriod, BudgetUnit, LimitMember, Place, PlaceKind

HOUR, DAY = 3_600 * 10**6, 86_400 * 10**6
MONTH_START = 1_793_491_200 * 10**6
"""The beginning of November 2026."""
NOW = MONTH_START + 10 * DAY
MONTH_END = MONTH_START + 30 * DAY
ACME = Place(PlaceKind.ACCOUNT, "acme")
BUDGET = Budget("b", "uid", ACME, BudgetUnit.TOKENS, 1_000, BudgetPeriod.MONTH)


@given(spent=st.integers(1, 10**18), over_us=st.integers(PACE_US_MIN, 400 * DAY), left=st.integers(1, 10**18))
def test_a_forecast_is_exact(spent: int, over_us: int, left: int) -> None:
    """A microsecond earlier less would be spent at that pace, and at the moment itself enough."""
    found = Pace(spent, NOW - over_us, NOW).used_up_us(left)
    if found is None:
        assert left * over_us > AHEAD_US_MAX * spent
    else:
        ahead_us = found - NOW
        assert (ahead_us - 1) * spent < left * over_us <= ahead_us * spent


@pytest.mark.parametrize(
    ("pace", "left"),
    [
        (Pace(0, NOW - DAY, NOW), 100),
        (Pace(-5, NOW - DAY, NOW), 100),
        (Pace(100, NOW - HOUR + 1, NOW), 100),
        (Pace(100, NOW - DAY, NOW), 0),
        (Pace(100, NOW - DAY, NOW), -1),
    ],
)
def test_nothing_is_forecast_without_a_pace(pace: Pace, left: int) -> None:
    """Nor where nothing is left."""
    assert pace.used_up_us(left) is None


def test_a_budget_is_used_up_at_the_pace_of_its_period() -> None:
    """Within the period; what lasts until it ends says since when its pace is measured, and no more."""
    quick = standing_at(BUDGET, {"": 400}, NOW)
    assert (quick.pace_start_us, quick.used_up_us) == (MONTH_START, NOW + 15 * DAY)
    lasts = standing_at(BUDGET, {"": 300}, NOW)
    assert (lasts.pace_start_us, lasts.used_up_us) == (MONTH_START, None)
    assert standing_at(BUDGET, {}, NOW).pace_start_us is None
    spent = standing_at(BUDGET, {"": 1_000}, NOW)
    assert (spent.pace_start_us, spent.used_up_us) == (MONTH_START, None)
    assert standing_at(BUDGET, {"": 400}, MONTH_START + HOUR - 1).pace_start_us is None


def test_what_was_stated_of_before_is_no_pace() -> None:
    """It counts as spent, and the pace is that of the time since the budget was made."""
    late = replace(BUDGET, create_us=NOW - DAY, initial_spent_units=400)
    assert standing_at(late, {"": 400}, NOW).pace_start_us is None
    standing = standing_at(late, {"": 500}, NOW)
    assert (standing.pace_start_us, standing.used_up_us) == (NOW - DAY, NOW + 5 * DAY)
    in_all = replace(late, period=BudgetPeriod.IN_ALL, create_us=NOW - 10 * DAY)
    assert standing_at(in_all, {"": 500}, NOW).used_up_us == NOW + 50 * DAY
    before = replace(late, create_us=MONTH_START - DAY)
    assert standing_at(before, {"": 400}, NOW).used_up_us == NOW + 15 * DAY


def test_a_raise_that_ends_leaves_the_own_amount() -> None:
    """What is beyond that by then is used up at the raise's end; the own amount may last longer, too."""
    raised = replace(BUDGET, raised_units=2_000, raised_until_us=NOW + 5 * DAY)
    assert standing_at(raised, {"": 1_500}, NOW).used_up_us == NOW + 10 * DAY // 3
    assert standing_at(raised, {"": 900}, NOW).used_up_us == NOW + 5 * DAY
    assert standing_at(raised, {"": 500}, NOW).used_up_us == NOW + 10 * DAY
    as_good_as_all = replace(raised, raised_units=10**15, raised_until_us=NOW + DAY // 2)
    assert standing_at(as_good_as_all, {"": 500}, NOW).used_up_us == NOW + 10 * DAY
    assert standing_at(as_good_as_all, {"": 1_500}, NOW).used_up_us == NOW + DAY // 2
    assert standing_at(replace(as_good_as_all, amount_units=10**12), {"": 500}, NOW).used_up_us is None
    assert standing_at(as_good_as_all, {"": 0}, NOW).used_up_us is None


def test_of_members_the_one_that_has_spent_most_is_forecast() -> None:
    """As all other figures of such a budget are that one's."""
    each = replace(BUDGET, member=LimitMember.EACH_KEY)
    assert standing_at(each, {"a": 100, "b": 500}, NOW).used_up_us == NOW + 10 * DAY
    assert standing_at(each, {"a": 100}, NOW).used_up_us is None
    assert standing_at(each, {}, NOW).period_end_us == MONTH_END
