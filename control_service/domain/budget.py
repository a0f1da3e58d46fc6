"""What is wrong with a budget that contradicts itself, and how one stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from control_service.domain.forecast import Pace
from control_service.domain.input_bounds import AMOUNT_NANOS_MAX, TOKENS_MAX
from control_service.domain.limit import Budget, BudgetPeriod, BudgetUnit, LimitMember, PlaceKind
from control_service.domain.limit_bounds import PERCENT_MAX, RAISE_US_MAX, THRESHOLD_COUNT_MAX
from control_service.domain.period import Period, begins_on_full_hours, period_at
from control_service.domain.rate_rule import Violation
from control_service.domain.time_zone import UTC, UnknownTimeZoneError

UNITS_MAX: Final = {BudgetUnit.TOKENS: TOKENS_MAX, BudgetUnit.MONEY: AMOUNT_NANOS_MAX}
"""Maximum amount of a budget, by its unit."""

STOPPED_MAX: Final = 100
"""Maximum number of members of a budget that are named as stopped."""

MEMBERS: Final[dict[PlaceKind, frozenset[LimitMember]]] = {
    PlaceKind.MODEL: frozenset(),
    PlaceKind.ACCOUNT: frozenset(LimitMember),
    PlaceKind.TEAM: frozenset({LimitMember.SHARED, LimitMember.EACH_KEY, LimitMember.EACH_SERVICE}),
    PlaceKind.SERVICE: frozenset({LimitMember.SHARED, LimitMember.EACH_KEY}),
    PlaceKind.KEY: frozenset({LimitMember.SHARED}),
}
"""Members that a budget may count each for itself, by the kind of what it hangs on."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands in its period: of one that counts each member for itself, the member that has spent most.

    `pace_start_us`: since when its pace is measured, None where it has none. `used_up_us`: when it is used up at that
    pace; None where that is not within the period, or it is used up already.
    """

    amount_units: int
    spent_units: int
    stops_requests: bool
    period_end_us: int | None = None
    stopped_members: tuple[str, ...] = ()
    pace_start_us: int | None = None
    used_up_us: int | None = None


def budget_violations(budget: Budget, now_us: int) -> Iterator[Violation]:
    """What is wrong with a new budget; nothing where it is right."""
    if budget.place.kind is PlaceKind.MODEL:
        yield "place", "must be the account, or a team, a service or a key of it"
    elif budget.member not in MEMBERS[budget.place.kind]:
        allowed = ", ".join(member for member in LimitMember if member in MEMBERS[budget.place.kind])
        yield "member", f"must, on this place, be one of {allowed}"
    greatest = UNITS_MAX[budget.unit]
    if not 0 <= budget.initial_spent_units <= greatest:
        yield "initial_spent_units", f"must be from 0 to {greatest}"
    elif budget.initial_spent_units and budget.member is not LimitMember.SHARED:
        yield "initial_spent_units", "must be left out where each member counts for itself"
    yield from _zone_violations(budget, now_us)
    yield from amount_violations(budget)
    yield from raise_violations(budget, now_us)
    yield from threshold_violations(budget.threshold_percents)


def amount_violations(budget: Budget) -> Iterator[Violation]:
    """What is wrong with the amount."""
    greatest = UNITS_MAX[budget.unit]
    if not 0 <= budget.amount_units <= greatest:
        yield "amount_units", f"must be from 0 to {greatest}"


def raise_violations(budget: Budget, now_us: int) -> Iterator[Violation]:
    """What is wrong with the raise, if there is one."""
    if budget.raised_until_us is None:
        return
    if not budget.amount_units < budget.raised_units <= UNITS_MAX[budget.unit]:
        greatest = UNITS_MAX[budget.unit]
        yield "temporary_raise.amount_units", f"must be greater than amount_units, and at most {greatest}"
    if not now_us < budget.raised_until_us <= now_us + RAISE_US_MAX:
        yield "temporary_raise.end_time", "must be in the future, at most 366 days ahead"


def threshold_violations(percents: tuple[int, ...]) -> Iterator[Violation]:
    """What is wrong with thresholds."""
    if len(percents) > THRESHOLD_COUNT_MAX:
        yield "threshold_percents", f"must not be more than {THRESHOLD_COUNT_MAX}"
    if len(set(percents)) < len(percents):
        yield "threshold_percents", "must not name a percent twice"
    if not all(1 <= percent <= PERCENT_MAX for percent in percents):
        yield "threshold_percents", f"must be from 1 to {PERCENT_MAX}"


def standing_at(budget: Budget, spent_units: Mapping[str, int], now_us: int) -> Standing:
    """How the budget stands at this moment.

    `spent_units`: of the pots of its present period, by member; the one pot that all share by an empty id.
    """
    amount_units = budget.amount_at(now_us)
    spent = [member for member, units in spent_units.items() if units >= amount_units]
    is_shared = budget.member is LimitMember.SHARED
    # Where nothing may pass, nobody can have spent anything yet.
    stops = not budget.soft and (bool(spent) or amount_units == 0)
    period = period_at(budget.period, budget.time_zone, now_us)
    most_units = max(spent_units.values(), default=0)
    pace = _pace(budget, period, most_units, now_us)
    return Standing(
        amount_units=amount_units,
        spent_units=most_units,
        stops_requests=stops,
        period_end_us=period.end_us,
        stopped_members=tuple(sorted(spent)[:STOPPED_MAX]) if stops and not is_shared else (),
        pace_start_us=pace.since_us if pace.is_measured else None,
        used_up_us=_used_up_us(budget, period, most_units, pace),
    )


def _pace(budget: Budget, period: Period, spent_units: int, now_us: int) -> Pace:
    """What was spent since the period began, or since the budget was made: not what its maker stated, of before."""
    stated = budget.initial_spent_units if period.start_us <= budget.create_us else 0
    return Pace(spent_units - stated, max(period.start_us, budget.create_us), now_us)


def _used_up_us(budget: Budget, period: Period, spent_units: int, pace: Pace) -> int | None:
    """When the amount is used up that is in force by then: a raise that ends before it leaves the budget's own."""
    amount_units, raised_until_us = budget.amount_at(pace.now_us), budget.raised_until_us
    found = pace.used_up_us(amount_units - spent_units)
    outlasts = pace.is_measured and budget.amount_units < amount_units > spent_units
    if outlasts and raised_until_us is not None and (found is None or raised_until_us < found):
        own_units = budget.amount_units - spent_units
        found = pace.used_up_us(own_units) if own_units > 0 else raised_until_us
        found = None if found is None else max(found, raised_until_us)
    return found if found is not None and (period.end_us is None or found < period.end_us) else None


def without_ended_raise(budget: Budget, now_us: int) -> Budget:
    """The budget without a raise whose time is over."""
    if budget.raised_until_us is None or now_us < budget.raised_until_us:
        return budget
    return replace(budget, raised_units=0, raised_until_us=None)


def _zone_violations(budget: Budget, now_us: int) -> Iterator[Violation]:
    if budget.period is BudgetPeriod.IN_ALL:
        if budget.time_zone != UTC:
            yield "time_zone", "must be left out: a budget in all has no periods that begin by a clock"
        return
    try:
        is_full = begins_on_full_hours(budget.time_zone, now_us)
    except UnknownTimeZoneError:
        yield "time_zone", "must be the name of an IANA time zone, such as Europe/Berlin"
        return
    if not is_full:
        remedy = "take a zone whose days begin on full hours of UTC"
        yield "time_zone", f"must not begin days within an hour of UTC, now or in the years to come; {remedy}"
