"""Rate rules and budgets that contradict themselves, and what is filled in where nothing is said."""

from dataclasses import replace

import pytest

from control_service.domain.budget import budget_violations, standing_at
from control_service.domain.limit import (
    Budget,
    BudgetPeriod,
    BudgetUnit,
    LimitMember,
    LimitSubject,
    Place,
    PlaceKind,
    RateMetric,
    RateRule,
)
from control_service.domain.limit_names import parse_budget, parse_place, parse_rate_rule
from control_service.domain.names import MalformedNameError
from control_service.domain.rate_rule import completed, rate_rule_violations

ACME = Place(PlaceKind.ACCOUNT, "acme")
NOW = 1_800_000_000 * 10**6
MINUTE, DAY = 60 * 10**6, 86_400 * 10**6
RULE = RateRule("r", "uid", ACME, RateMetric.TOTAL_TOKENS, 60_000, MINUTE, 1_000)
SLOTS = replace(RULE, metric=RateMetric.CONCURRENT_REQUESTS, limit_units=5, period_us=0, burst_units=0)
BUDGET = Budget("b", "uid", ACME, BudgetUnit.TOKENS, 1_000, BudgetPeriod.DAY, "Europe/Berlin")


def rule_fields(rule: RateRule, smallest_tokens: int = 16) -> list[str]:
    return [path for path, _ in rate_rule_violations(rule, smallest_tokens)]


def budget_fields(budget: Budget) -> list[str]:
    return [path for path, _ in budget_violations(budget, NOW)]


def place(kind: PlaceKind) -> Place:
    return Place(kind, "" if kind is PlaceKind.MODEL else "acme", "id", "uid")


@pytest.mark.parametrize(
    ("limit", "period_us", "metric", "burst"),
    [
        (60_000, 0, RateMetric.TOTAL_TOKENS, 60_000),  # a minute is the default period
        (86_400, DAY, RateMetric.INPUT_TOKENS, 60),
        (1_440, DAY, RateMetric.OUTPUT_TOKENS, 16),  # the smallest request, more than a minute's token
        (10, DAY, RateMetric.REQUESTS, 1),
        (100, 60 * MINUTE, RateMetric.REQUESTS, 2),  # rounded up
        (5, 0, RateMetric.CONCURRENT_REQUESTS, 0),
    ],
)
def test_a_burst_is_a_minutes_worth_unless_said(limit: int, period_us: int, metric: RateMetric, burst: int) -> None:
    """At least 1, and of tokens the smallest request; a rule that was completed is right."""
    rule = replace(RULE, metric=metric, limit_units=limit, period_us=period_us, burst_units=0)
    assert completed(rule, 16).burst_units == burst
    assert rule_fields(completed(rule, 16)) == []
    assert completed(replace(rule, burst_units=7), 16).burst_units == 7


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        (replace(RULE, limit_units=0), ["limit_units"]),
        (replace(RULE, limit_units=-1), ["limit_units"]),
        (replace(RULE, limit_units=10**11 + 1), ["limit_units"]),
        (replace(RULE, period_us=MINUTE - 1), ["period"]),
        (replace(RULE, period_us=DAY + 10**6), ["period"]),
        (replace(RULE, period_us=MINUTE + 1), ["period"]),
        (replace(RULE, burst_units=-1), ["burst_units"]),
        (replace(RULE, burst_units=60_001), ["burst_units"]),
        (replace(RULE, burst_units=15), ["burst_units"]),
        (replace(RULE, limit_units=15, burst_units=15), ["limit_units"]),
        (replace(SLOTS, period_us=MINUTE), ["period"]),
        (replace(SLOTS, burst_units=1), ["burst_units"]),
        (replace(RULE, place=place(PlaceKind.MODEL), model_id="llama"), ["model"]),
        (replace(RULE, place=place(PlaceKind.SERVICE), model_id="llama"), ["model"]),
    ],
)
def test_a_rule_that_contradicts_itself_is_wrong(wrong: RateRule, fields: list[str]) -> None:
    """The field is named."""
    assert rule_fields(wrong) == fields


@pytest.mark.parametrize("right", [RULE, SLOTS, replace(RULE, model_id="llama"), replace(RULE, burst_units=60_000)])
def test_a_rule_may_be_as_great_and_as_small_as_its_bounds(right: RateRule) -> None:
    """Requests are not measured by the model's smallest request."""
    assert rule_fields(right) == []
    assert rule_fields(replace(RULE, metric=RateMetric.REQUESTS, limit_units=1, burst_units=1)) == []


def test_a_limit_of_zero_says_what_to_do_instead() -> None:
    """Nobody shuts a service by a slip."""
    ((_, problem),) = rate_rule_violations(replace(RULE, limit_units=0), 16)
    assert "disable or suspend" in problem
    assert "dry_run" in problem


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        (replace(BUDGET, amount_units=-1), ["amount_units"]),
        (replace(BUDGET, amount_units=10**15 + 1), ["amount_units"]),
        (replace(BUDGET, initial_spent_units=-1), ["initial_spent_units"]),
        (replace(BUDGET, member=LimitMember.EACH_KEY, initial_spent_units=1), ["initial_spent_units"]),
        (replace(BUDGET, time_zone="Mars/Olympus"), ["time_zone"]),
        (replace(BUDGET, time_zone="Asia/Kolkata"), ["time_zone"]),
        (replace(BUDGET, period=BudgetPeriod.IN_ALL), ["time_zone"]),
        (replace(BUDGET, raised_units=1_000, raised_until_us=NOW + 1), ["temporary_raise.amount_units"]),
        (replace(BUDGET, raised_units=2_000, raised_until_us=NOW), ["temporary_raise.end_time"]),
        (replace(BUDGET, raised_units=2_000, raised_until_us=NOW + 367 * DAY), ["temporary_raise.end_time"]),
        (replace(BUDGET, threshold_percents=(0,)), ["threshold_percents"]),
        (replace(BUDGET, threshold_percents=(50, 50)), ["threshold_percents"]),
        (replace(BUDGET, threshold_percents=tuple(range(1, 12))), ["threshold_percents"]),
        (replace(BUDGET, place=place(PlaceKind.MODEL)), ["place"]),
        (replace(BUDGET, place=place(PlaceKind.KEY), member=LimitMember.EACH_KEY), ["member"]),
        (replace(BUDGET, place=place(PlaceKind.TEAM), member=LimitMember.EACH_TEAM), ["member"]),
        (replace(BUDGET, place=place(PlaceKind.SERVICE), member=LimitMember.EACH_SERVICE), ["member"]),
    ],
)
def test_a_budget_that_contradicts_itself_is_wrong(wrong: Budget, fields: list[str]) -> None:
    """The field is named; a zone with half hours and one that nobody has are both refused."""
    assert budget_fields(wrong) == fields


@pytest.mark.parametrize(
    "right",
    [
        BUDGET,
        replace(BUDGET, amount_units=0),
        replace(BUDGET, unit=BudgetUnit.MONEY, amount_units=10**18),
        replace(BUDGET, period=BudgetPeriod.IN_ALL, time_zone="UTC"),
        replace(BUDGET, raised_units=1_001, raised_until_us=NOW + 1, threshold_percents=(50, 80, 1_000)),
        replace(BUDGET, member=LimitMember.EACH_TEAM),
        replace(BUDGET, place=place(PlaceKind.SERVICE), member=LimitMember.EACH_KEY),
    ],
)
def test_a_budget_that_makes_sense_is_right(right: Budget) -> None:
    """Also one of nothing, which lets nothing pass."""
    assert budget_fields(right) == []


def test_a_raise_holds_until_its_end() -> None:
    """From then on the budget's own amount."""
    raised = replace(BUDGET, raised_units=2_000, raised_until_us=NOW)
    assert (raised.amount_at(NOW - 1), raised.amount_at(NOW)) == (2_000, 1_000)


def test_a_budget_says_what_it_stops() -> None:
    """Once nothing is left; a soft one never does; and of members those that have spent theirs."""
    assert not standing_at(BUDGET, {"": 999}, NOW).stops_requests
    assert standing_at(BUDGET, {"": 1_000}, NOW).stops_requests
    assert not standing_at(replace(BUDGET, soft=True), {"": 1_000}, NOW).stops_requests
    assert standing_at(replace(BUDGET, amount_units=0), {}, NOW).stops_requests
    each = standing_at(replace(BUDGET, member=LimitMember.EACH_KEY), {"a": 1_000, "b": 999, "c": 1_001}, NOW)
    assert (each.spent_units, each.stops_requests, each.stopped_members) == (1_001, True, ("a", "c"))
    assert standing_at(BUDGET, {}, NOW).period_end_us is not None


def test_names_of_limits_and_places_are_read() -> None:
    """To ids and back."""
    assert parse_rate_rule("accounts/acme/rateRules/r") == (LimitSubject("acme"), "r")
    assert parse_rate_rule("models/llama/rateRules/r") == (LimitSubject(model_id="llama"), "r")
    assert parse_budget("accounts/acme/budgets/b") == ("acme", "b")
    for name in (
        "models/llama",
        "accounts/acme",
        "accounts/acme/teams/blue",
        "accounts/acme/services/default-llama",
        "accounts/acme/keys/k",
    ):
        assert parse_place(name).name == name


@pytest.mark.parametrize("name", ["", "accounts/acme/teams/", "accounts/acme/budgets/b", "models/llama/rateRules/r"])
def test_what_is_no_place_is_refused(name: str) -> None:
    """So is what is no limit."""
    for parse in (parse_place, parse_budget, parse_rate_rule):
        if not (parse is parse_budget and "budgets" in name) and not (parse is parse_rate_rule and "Rules" in name):
            with pytest.raises(MalformedNameError):
                parse(name)
