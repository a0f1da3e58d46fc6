"""Rate rules as this node knows them: what they count of a request, and how fast that refills."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NS_PER_MS: Final = 1_000_000

AHEAD_MS: Final = 2_000
"""Time whose accrual a node may have on lease without a request that holds it; the rest goes back at once."""


class RateMetric(StrEnum):
    """What a rate rule counts."""

    REQUESTS = "REQUESTS"
    INPUT_TOKENS = "INPUT_TOKENS"
    OUTPUT_TOKENS = "OUTPUT_TOKENS"
    TOTAL_TOKENS = "TOTAL_TOKENS"
    CONCURRENT_REQUESTS = "CONCURRENT_REQUESTS"

    @property
    def counts_input(self) -> bool:
        """Whether tokens of the input class count."""
        return self in (RateMetric.INPUT_TOKENS, RateMetric.TOTAL_TOKENS)

    @property
    def counts_output(self) -> bool:
        """Whether tokens of the output class count."""
        return self in (RateMetric.OUTPUT_TOKENS, RateMetric.TOTAL_TOKENS)

    @property
    def counts_tokens(self) -> bool:
        """Whether it counts tokens, and not requests."""
        return self.counts_input or self.counts_output


@dataclass(frozen=True, slots=True)
class RateRule:
    """So many units a period, refilled all the time, of which `burst_units` gather at most.

    Of CONCURRENT_REQUESTS: so many at once; period and burst are 0. `only_counts`: a dry run, which refuses nothing.
    """

    name: str
    place: str
    metric: RateMetric
    limit_units: int
    period_ms: int = 0
    burst_units: int = 0
    only_counts: bool = False

    @property
    def most_units(self) -> int:
        """The most that one request can ever have: the burst, or all slots."""
        return self.burst_units if self.period_ms else self.limit_units

    @property
    def ahead_units(self) -> int:
        """What accrues in `AHEAD_MS`."""
        return self.accrued_units(AHEAD_MS * NS_PER_MS)

    def units(self, input_tokens: int, output_tokens: int) -> int:
        """What it counts of a request with so many tokens that no reservation pays for."""
        metric = self.metric
        if not metric.counts_tokens:
            return 1
        return input_tokens * metric.counts_input + output_tokens * metric.counts_output

    def accrued_units(self, elapsed_ns: int) -> int:
        """What accrues in a time, rounded down."""
        return elapsed_ns // NS_PER_MS * self.limit_units // self.period_ms if self.period_ms else 0

    def accrues_after_ms(self, units: int) -> int:
        """Time in which so many units accrue, rounded up."""
        return -(-max(0, units) * self.period_ms // self.limit_units) if self.limit_units else 0
