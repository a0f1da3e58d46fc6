"""The figures of a rate rule, as a metering node says them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateStatus:
    """Figures of one rate rule, at the moment of a decision.

    Attributes:
        rate_rule: Resource name of the rule.
        place: Resource name of what the rule hangs on.
        metric: `REQUESTS`, `INPUT_TOKENS`, `OUTPUT_TOKENS`, `TOTAL_TOKENS` or `CONCURRENT_REQUESTS`.
        limit_units: Units a period, or requests at once.
        period_ms: The period; None of CONCURRENT_REQUESTS.
        remaining_units: What could be had at that moment.
        reset_after_ms: Time until all of the burst is there again; None of CONCURRENT_REQUESTS.
    """

    rate_rule: str
    place: str
    metric: str
    limit_units: int
    period_ms: int | None
    remaining_units: int
    reset_after_ms: int | None
