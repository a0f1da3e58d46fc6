"""The calendar of budgets: in which period a moment lies, by the rules of a time zone.

A period begins with the first moment from which on the zone's clocks show its first midnight or later: one that does
not exist moves forward, and of two equal ones the first counts. Each ends where the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from control_service.domain.limit import FOR_EVER, Budget, BudgetPeriod
from control_service.domain.time_zone import time_zone

NEAR_US: Final = 600 * 10**6
"""Time before its begin at which the next period is near: nodes are told of it then."""

YEARS_AHEAD: Final = 20
"""Number of years to come in which every day of a budget's time zone must begin on a full hour of UTC."""

_S: Final = 10**6
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Period:
    """From its start, included, to its end, excluded; `end_us` is None of the one period that is for ever."""

    start_us: int = FOR_EVER
    end_us: int | None = None


_ALWAYS: Final = Period()


def periods_of(budget: Budget, now_us: int) -> tuple[Period, ...]:
    """The budget's period at this moment and, while it is near, the next one."""
    current = period_at(budget.period, budget.time_zone, now_us)
    if current.end_us is None or current.end_us - now_us > NEAR_US:
        return (current,)
    return current, period_at(budget.period, budget.time_zone, current.end_us)


def period_at(kind: BudgetPeriod, zone_name: str, moment_us: int) -> Period:
    """The period of this kind in which the moment lies. Raises UnknownTimeZoneError."""
    if kind is BudgetPeriod.IN_ALL:
        return _ALWAYS
    return _period_at(kind, zone_name, moment_us // (_HOUR_S * _S) * _HOUR_S, moment_us // _S)


def month_of(zone_name: str, year: int, month: int) -> Period:
    """The month of the calendar, by the rules of a time zone. Raises UnknownTimeZoneError."""
    zone, first = time_zone(zone_name), date(year, month, 1)
    return Period(_begin_s(zone, first) * _S, _begin_s(zone, _next_month(first)) * _S)


def text_of_month(zone_name: str, period: Period) -> str:
    """A month as `2026-10`."""
    return datetime.fromtimestamp(period.start_us // _S, time_zone(zone_name)).strftime("%Y-%m")


def begins_on_full_hours(zone_name: str, moment_us: int) -> bool:
    """Whether every day of the zone begins on a full hour of UTC, this year and in those to come.

    Raises:
        UnknownTimeZoneError: there is no such zone.
    """
    year = datetime.fromtimestamp(moment_us // _S, UTC).year
    return all(_year_begins_on_full_hours(zone_name, year + ahead) for ahead in range(YEARS_AHEAD + 1))


def _period_at(kind: BudgetPeriod, zone_name: str, hour_s: int, moment_s: int) -> Period:
    """Remembers the period of a whole hour: of zones whose periods begin on full hours it is that of each moment."""
    period = _period_of_hour(kind, zone_name, hour_s)
    if period.end_us is not None and period.end_us <= moment_s * _S:
        return _period_of_hour(kind, zone_name, moment_s)
    return period


@lru_cache(maxsize=4_096)
def _period_of_hour(kind: BudgetPeriod, zone_name: str, moment_s: int) -> Period:
    zone, following = time_zone(zone_name), _FOLLOWING[kind]
    first = _FIRST_DAY[kind](datetime.fromtimestamp(moment_s, zone).date())
    # The clocks may show a day again that has ended, when they are put back over midnight.
    while (end_s := _begin_s(zone, following(first))) <= moment_s:
        first = following(first)
    return Period(_begin_s(zone, first) * _S, end_s * _S)


def _first_of_week(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _first_of_month(day: date) -> date:
    return day.replace(day=1)


def _next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


_FIRST_DAY: Final[dict[BudgetPeriod, Callable[[date], date]]] = {
    BudgetPeriod.DAY: lambda day: day,
    BudgetPeriod.WEEK: _first_of_week,
    BudgetPeriod.MONTH: _first_of_month,
}
_FOLLOWING: Final[dict[BudgetPeriod, Callable[[date], date]]] = {
    BudgetPeriod.DAY: lambda first: first + timedelta(days=1),
    BudgetPeriod.WEEK: lambda first: first + timedelta(days=7),
    BudgetPeriod.MONTH: _next_month,
}


def _begin_s(zone: ZoneInfo, day: date) -> int:
    """The first second in which the zone's clocks show midnight of this day or later."""
    wall_s = (day.toordinal() - _EPOCH) * _DAY_S
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    first_s = wall_s - _offset_s(midnight)
    second_s = wall_s - _offset_s(midnight.replace(fold=1))
    if first_s <= second_s:
        return first_s
    # No clock shows this midnight: the clocks are put forward over it, at a moment between the two.
    before_s, after_s = second_s, first_s
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if middle_s + _offset_s(datetime.fromtimestamp(middle_s, zone)) >= wall_s:
            after_s = middle_s
        else:
            before_s = middle_s
    return after_s


def _offset_s(moment: datetime) -> int:
    offset = moment.utcoffset()
    assert offset is not None
    return offset // timedelta(seconds=1)


@lru_cache(maxsize=16_384)
def _year_begins_on_full_hours(zone_name: str, year: int) -> bool:
    zone, first = time_zone(zone_name), date(year, 1, 1).toordinal()
    days = range(first, date(year + 1, 1, 1).toordinal())
    return all(_begin_s(zone, date.fromordinal(day)) % _HOUR_S == 0 for day in days)
