"""The calendar of budgets, in all time zones and in the years that matter."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_service.domain.limit import FOR_EVER, Budget, BudgetPeriod, BudgetUnit, Place, PlaceKind
from control_service.domain.period import NEAR_US, Period, begins_on_full_hours, period_at, periods_of
from control_service.domain.time_zone import UnknownTimeZoneError, time_zone, time_zone_names

ZONES = sorted(time_zone_names())
FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 10**6 for year in (2020, 2038))
S = 10**6
HOUR = 3_600 * S
DAYS_MAX = {BudgetPeriod.DAY: 2, BudgetPeriod.WEEK: 8, BudgetPeriod.MONTH: 32}
NOW = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * S

zones = st.sampled_from(ZONES)
kinds = st.sampled_from([BudgetPeriod.DAY, BudgetPeriod.WEEK, BudgetPeriod.MONTH])
moments = st.integers(FIRST, LAST)


def us(*parts: int) -> int:
    """A moment of UTC."""
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * S  # type: ignore[misc,arg-type]  # year to second


def local(zone: str, moment_us: int) -> datetime:
    return datetime.fromtimestamp(moment_us // S, time_zone(zone))


def first_day(kind: BudgetPeriod, day: date) -> bool:
    """Whether a period of this kind begins on this day."""
    return kind is BudgetPeriod.DAY or (day.weekday() == 0 if kind is BudgetPeriod.WEEK else day.day == 1)


def walk(zone: str, kind: BudgetPeriod) -> Iterator[Period]:
    """All periods of the years that matter, each found by the end of the one before."""
    period = period_at(kind, zone, FIRST)
    while period.end_us is not None and period.end_us < LAST:
        yield period
        period = period_at(kind, zone, period.end_us)


@settings(max_examples=400, deadline=None)
@given(zones, kinds, moments)
def test_a_moment_lies_in_its_period_and_periods_touch(zone: str, kind: BudgetPeriod, moment_us: int) -> None:
    """No gap, no overlap: every moment of a period finds that period, and the next one begins where it ends."""
    period = period_at(kind, zone, moment_us)
    assert period.end_us is not None
    assert period.start_us <= moment_us < period.end_us <= period.start_us + DAYS_MAX[kind] * 24 * HOUR
    for inside_us in (period.start_us, (period.start_us + period.end_us) // 2, period.end_us - 1):
        assert period_at(kind, zone, inside_us) == period
    assert period_at(kind, zone, period.end_us).start_us == period.end_us
    assert period_at(kind, zone, period.start_us - 1).end_us == period.start_us


@settings(max_examples=200, deadline=None)
@given(zones, kinds, moments)
def test_a_period_begins_when_the_clocks_first_show_its_midnight(zone: str, kind: BudgetPeriod, moment_us: int) -> None:
    """Looked for minute by minute: nothing before shows its day, and its first second does."""
    start_us = period_at(kind, zone, moment_us).start_us
    day = local(zone, start_us).date()
    assert first_day(kind, day)
    before = [local(zone, start_us - minute * 60 * S).replace(tzinfo=None) for minute in range(1, 27 * 60)]
    assert max(before) < datetime.combine(day, datetime.min.time())


def test_every_period_of_every_zone_follows_the_one_before() -> None:
    """Months of all zones from 2020 to 2037: as many as there are, and each begins on the first of its month."""
    for zone in ZONES:
        periods = list(walk(zone, BudgetPeriod.MONTH))
        assert 18 * 12 - 1 <= len(periods) <= 18 * 12 + 1
        for one, following in pairwise(periods):
            assert one.end_us == following.start_us
            assert local(zone, following.start_us).day == 1


@pytest.mark.parametrize(
    "zone", ["America/Havana", "America/Santiago", "Africa/Cairo", "Asia/Beirut", "Antarctica/Troll"]
)
def test_days_follow_each_other_where_clocks_change_at_midnight(zone: str) -> None:
    """Each day once, none left out."""
    days = [local(zone, period.start_us).date() for period in walk(zone, BudgetPeriod.DAY)]
    assert all(following - one == timedelta(days=1) for one, following in pairwise(days))


def test_a_midnight_that_does_not_exist_moves_forward() -> None:
    """In Havana the clocks went from midnight to one on 9 March 2025."""
    assert period_at(BudgetPeriod.DAY, "America/Havana", us(2025, 3, 9, 12)) == Period(
        us(2025, 3, 9, 5), us(2025, 3, 10, 4)
    )


def test_of_two_midnights_the_first_counts() -> None:
    """In Havana the clocks went from one back to midnight on 2 November 2025: that day had 25 hours."""
    assert period_at(BudgetPeriod.DAY, "America/Havana", us(2025, 11, 2, 12)) == Period(
        us(2025, 11, 2, 4), us(2025, 11, 3, 5)
    )


def test_a_day_that_was_left_out_has_no_period() -> None:
    """Samoa had no 30 December 2011."""
    before = period_at(BudgetPeriod.DAY, "Pacific/Apia", us(2011, 12, 30, 9))
    after = period_at(BudgetPeriod.DAY, "Pacific/Apia", us(2011, 12, 30, 10))
    assert (local("Pacific/Apia", before.start_us).day, local("Pacific/Apia", after.start_us).day) == (29, 31)
    assert before.end_us == after.start_us


def test_weeks_begin_on_mondays_and_months_on_their_first() -> None:
    """Weeks are those of ISO 8601."""
    assert period_at(BudgetPeriod.WEEK, "Europe/Berlin", us(2026, 3, 29, 12)) == Period(
        us(2026, 3, 22, 23), us(2026, 3, 29, 22)
    )
    assert period_at(BudgetPeriod.MONTH, "Europe/Berlin", us(2026, 3, 29, 12)) == Period(
        us(2026, 2, 28, 23), us(2026, 3, 31, 22)
    )


def test_what_is_for_ever_has_one_period() -> None:
    """It began before every moment, and does not end."""
    assert period_at(BudgetPeriod.IN_ALL, "UTC", NOW) == Period(FOR_EVER, None)


def test_the_next_period_is_told_while_it_is_near() -> None:
    """Ten minutes ahead, and no further."""
    budget = Budget("b", "uid", Place(PlaceKind.ACCOUNT, "acme"), BudgetUnit.TOKENS, 1, BudgetPeriod.DAY)
    today, tomorrow = (period_at(BudgetPeriod.DAY, "UTC", NOW + day * 24 * HOUR) for day in range(2))
    assert today.end_us is not None
    assert periods_of(budget, today.end_us - NEAR_US - 1) == (today,)
    assert periods_of(budget, today.end_us - NEAR_US) == (today, tomorrow)
    assert periods_of(budget, today.end_us) == (tomorrow,)


def test_zones_are_refused_whose_days_begin_within_an_hour() -> None:
    """India and Nepal always, Lord Howe in winter alone; those that are left begin every period on a full hour."""
    within = {"Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"}
    full = {"UTC", "Europe/Berlin", "America/Havana", "Pacific/Apia", "America/Nuuk"}
    assert {zone for zone in within | full if not begins_on_full_hours(zone, NOW)} == within


@settings(max_examples=30, deadline=None)
@given(zones, kinds, st.integers(NOW, LAST))
def test_a_zone_that_is_taken_has_full_hours_in_the_years_to_come(
    zone: str, kind: BudgetPeriod, moment_us: int
) -> None:
    """Whatever the day."""
    if begins_on_full_hours(zone, NOW):
        assert period_at(kind, zone, moment_us).start_us % HOUR == 0


def test_a_zone_that_nobody_has_is_unknown() -> None:
    """Also one that would be a path."""
    for zone in ("", "Mars/Olympus", "../zones", "europe/berlin"):
        with pytest.raises(UnknownTimeZoneError):
            period_at(BudgetPeriod.DAY, zone, NOW)
