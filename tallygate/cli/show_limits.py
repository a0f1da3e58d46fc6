"""Rate rules and budgets as people see them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from tallygate.cli.console import facts, literal
from tallygate.cli.money import format_amount
from tallygate.cli.show import time_text
from tallygate.cli.show_access import table
from tallygate.control.v1 import budget_pb2, limit_config_pb2, rate_rule_pb2

_METRICS = {
    limit_config_pb2.RATE_METRIC_REQUESTS: "requests",
    limit_config_pb2.RATE_METRIC_INPUT_TOKENS: "input tokens",
    limit_config_pb2.RATE_METRIC_OUTPUT_TOKENS: "output tokens",
    limit_config_pb2.RATE_METRIC_TOTAL_TOKENS: "tokens",
    limit_config_pb2.RATE_METRIC_CONCURRENT_REQUESTS: "requests at once",
}
_EACH = {
    limit_config_pb2.LIMIT_MEMBER_EACH_KEY: "each key",
    limit_config_pb2.LIMIT_MEMBER_EACH_SERVICE: "each service",
    limit_config_pb2.LIMIT_MEMBER_EACH_TEAM: "each team",
}
_PERIODS = {
    budget_pb2.CALENDAR_PERIOD_IN_ALL: "in all",
    budget_pb2.CALENDAR_PERIOD_DAY: "a day",
    budget_pb2.CALENDAR_PERIOD_WEEK: "a week",
    budget_pb2.CALENDAR_PERIOD_MONTH: "a month",
}


def rate_rule_facts(rule: rate_rule_pb2.RateRule) -> Table:
    """One rule."""
    return facts(
        ("rule", literal(rule.name, "bold")),
        ("hangs on", rule.place),
        ("limit", rate_text(rule)),
        ("burst", f"{rule.burst_units:,}" if rule.burst_units else ""),
        ("model", rule.model),
        ("dry run", "yes: it counts and refuses nothing" if rule.dry_run else ""),
        ("deleted", time_text(rule.delete_time) if rule.HasField("delete_time") else ""),
    )


def rate_rule_table(rules: Iterable[rate_rule_pb2.RateRule]) -> Table:
    """Many rules."""
    return table(
        ("rule", "hangs on", "limit", "burst", "model", "dry run"),
        (
            (
                one.name,
                one.place,
                rate_text(one),
                f"{one.burst_units:,}" if one.burst_units else "",
                one.model,
                "yes" if one.dry_run else "no",
            )
            for one in rules
        ),
    )


def rate_text(rule: rate_rule_pb2.RateRule) -> str:
    """So much of what, in how long."""
    text = f"{rule.limit_units:,} {_METRICS.get(rule.metric, '')}"
    return f"{text} in {rule.period.seconds:,} s" if rule.HasField("period") else text


def budget_facts(budget: budget_pb2.Budget, standing: budget_pb2.BudgetStanding | None, currency: str) -> Table:
    """One budget, and how it stands."""
    rows: list[tuple[str, str | Text]] = [
        ("budget", literal(budget.name, "bold")),
        ("hangs on", budget.place),
        ("amount", budget_text(budget, currency)),
        ("time zone", budget.time_zone if budget.period != budget_pb2.CALENDAR_PERIOD_IN_ALL else ""),
        ("soft", "yes: it tells and refuses nothing" if budget.soft else ""),
        ("thresholds", ", ".join(f"{percent} %" for percent in budget.threshold_percents)),
    ]
    if budget.HasField("temporary_raise"):
        raised = budget.temporary_raise
        amount = _amount(budget.unit, raised.amount_units, currency)
        rows.append(("raised to", f"{amount} until {time_text(raised.end_time)}"))
    if budget.HasField("delete_time"):
        rows.append(("deleted", time_text(budget.delete_time)))
    elif standing is not None:
        rows += _standing_rows(budget, standing, currency)
    return facts(*rows)


def _standing_rows(
    budget: budget_pb2.Budget, standing: budget_pb2.BudgetStanding, currency: str
) -> list[tuple[str, str | Text]]:
    end = f"until {time_text(standing.period_end_time)}" if standing.HasField("period_end_time") else "for good"
    whose = ", ".join(standing.stopped_members)
    stopped = f"requests {f'of {whose} ' if whose else ''}are refused {end}, or until the amount is raised"
    of_most = " by whoever spent most" if budget.member in _EACH else ""
    return [
        ("spent", _amount(budget.unit, standing.spent_units, currency) + of_most),
        ("forecast", _forecast(standing)),
        ("stops", Text(stopped, style="red") if standing.stops_requests else "nothing"),
    ]


def _forecast(standing: budget_pb2.BudgetStanding) -> str:
    """How long it lasts; empty where it has no pace, or is used up already."""
    if not standing.HasField("pace_start_time") or standing.spent_units >= standing.amount_units:
        return ""
    if standing.HasField("used_up_time"):
        lasts = f"used up by {time_text(standing.used_up_time)}"
    else:
        lasts = "lasts until it begins anew" if standing.HasField("period_end_time") else "lasts for ten years or more"
    return f"{lasts}, at the pace since {time_text(standing.pace_start_time)}"


def budget_table(budgets: Iterable[budget_pb2.Budget], currency: str) -> Table:
    """Many budgets."""
    return table(
        ("budget", "hangs on", "amount", "time zone", "soft"),
        (
            (one.name, one.place, budget_text(one, currency), one.time_zone, "yes" if one.soft else "no")
            for one in budgets
        ),
    )


def budget_text(budget: budget_pb2.Budget, currency: str) -> str:
    """So much, how often, for whom."""
    text = f"{_amount(budget.unit, budget.amount_units, currency)} {_PERIODS.get(budget.period, '')}"
    each = _EACH.get(budget.member)
    return f"{text} for {each}" if each else text


def _amount(unit: budget_pb2.BudgetUnit.ValueType, units: int, currency: str) -> str:
    return format_amount(units, currency) if unit == budget_pb2.BUDGET_UNIT_MONEY else f"{units:,} tokens"
