"""What makes a rate rule whole, and what is wrong with one that contradicts itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from control_service.domain.limit import PlaceKind, RateMetric, RateRule
from control_service.domain.limit_bounds import MINUTE_US, RATE_PERIOD_US_MAX, RATE_UNITS_MAX

Violation = tuple[str, str]
"""The path of a field, and what is wrong with it."""

_TOKENS: Final = frozenset({RateMetric.INPUT_TOKENS, RateMetric.OUTPUT_TOKENS, RateMetric.TOTAL_TOKENS})
_OF_MANY_MODELS: Final = frozenset({PlaceKind.ACCOUNT, PlaceKind.TEAM, PlaceKind.KEY})
_SECOND_US: Final = 10**6


def completed(rule: RateRule, smallest_tokens: int) -> RateRule:
    """The rule with a period of a minute and the default burst, where either is 0.

    `smallest_tokens`: of the smallest request of the one model whose requests count; 0 where those of several do.
    """
    if rule.metric is RateMetric.CONCURRENT_REQUESTS:
        return rule
    whole = replace(rule, period_us=rule.period_us or MINUTE_US)
    return replace(whole, burst_units=whole.burst_units or default_burst(whole, smallest_tokens))


def default_burst(rule: RateRule, smallest_tokens: int) -> int:
    """A minute's worth, rounded up, at least the smallest request's tokens, and never more than a period's worth."""
    if rule.metric is RateMetric.CONCURRENT_REQUESTS or rule.period_us <= 0:
        return 0
    minute_units = -(-rule.limit_units * MINUTE_US // rule.period_us)
    least = smallest_tokens if rule.metric in _TOKENS else 1
    return min(rule.limit_units, max(minute_units, least, 1))


def rate_rule_violations(rule: RateRule, smallest_tokens: int) -> Iterator[Violation]:
    """What is wrong with a rule that is completed; nothing where it is right."""
    if rule.limit_units == 0:
        remedy = "to let nothing pass, disable or suspend what it hangs on; to see what it would refuse, set dry_run"
        yield "limit_units", f"must be at least 1; {remedy}"
    elif not 1 <= rule.limit_units <= RATE_UNITS_MAX:
        yield "limit_units", f"must be from 1 to {RATE_UNITS_MAX}"
    if rule.model_id and rule.place.kind not in _OF_MANY_MODELS:
        yield "model", "must be empty: what the rule hangs on is, or has, one model"
    if rule.metric is RateMetric.CONCURRENT_REQUESTS:
        yield from _slot_violations(rule)
    else:
        yield from _rate_violations(rule, smallest_tokens)


def _slot_violations(rule: RateRule) -> Iterator[Violation]:
    for path, value in (("period", rule.period_us), ("burst_units", rule.burst_units)):
        if value:
            yield path, "must be left out: requests that run at once have none"


def _rate_violations(rule: RateRule, smallest_tokens: int) -> Iterator[Violation]:
    if not MINUTE_US <= rule.period_us <= RATE_PERIOD_US_MAX or rule.period_us % _SECOND_US:
        yield "period", "must be whole seconds, from 60 s to 86400 s"
    if rule.limit_units < 1:
        return
    if not 1 <= rule.burst_units <= rule.limit_units:
        yield "burst_units", f"must be from 1 to limit_units, {rule.limit_units}"
    elif rule.metric in _TOKENS and rule.burst_units < smallest_tokens:
        path = "limit_units" if rule.limit_units < smallest_tokens else "burst_units"
        yield (
            path,
            f"must be at least {smallest_tokens}, the tokens of the model's smallest request, or none would pass",
        )
