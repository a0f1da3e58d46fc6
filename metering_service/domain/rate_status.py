"""Figures of one rate rule, as decisions have them."""

from typing import NamedTuple

from metering_service.domain.rate_lease import RateLease
from metering_service.domain.rate_rule import RateRule


class RateStatus(NamedTuple):
    """How things stand with a rate rule. `remaining_units`: what could be had, as far as this node knows."""

    rule: RateRule
    remaining_units: int
    reset_after_ms: int | None = None


def rate_status(lease: RateLease, now_ns: int) -> RateStatus:
    """How things stand with the rule of this lease."""
    return RateStatus(lease.rule, max(0, lease.level_units(now_ns)), lease.reset_after_ms(now_ns))


def tightest(statuses: list[RateStatus]) -> RateStatus | None:
    """That of the rule which is nearest to its limit: least remaining of its limit; the first of several."""
    return min(statuses, key=lambda one: one.remaining_units / max(1, one.rule.limit_units), default=None)
