"""Rate rules as this node knows them: what they count of a request, and how fast that refills."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

NS_PER_MS: Final = 1_000_000

CALLERS_PLACES: Final = ("/keys/", "/services/")
"""Parts of the names of places that are a caller's own."""
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
    of_request: int = field(init=False, compare=False, repr=False)
    """Units for a request as such."""
    of_input: int = field(init=False, compare=False, repr=False)
    """Units for a token of the input class."""
    of_output: int = field(init=False, compare=False, repr=False)
    """Units for a token of the output class."""
    most_units: int = field(init=False, compare=False, repr=False)
    """Maximum that one request can ever have: the burst, or all slots."""
    ahead_units: int = field(init=False, compare=False, repr=False)
    """Units that accrue in `AHEAD_MS`."""
    is_callers: bool = field(init=False, compare=False, repr=False)
    """Whether it hangs on a caller's own key or service: figures of others tell of others."""

    def __post_init__(self) -> None:
        # Worked out once: every request asks for them of every rule.
        metric = self.metric
        worked_out: dict[str, int] = {
            "of_request": int(not metric.counts_tokens),
            "of_input": int(metric.counts_input),
            "of_output": int(metric.counts_output),
            "most_units": self.burst_units if self.period_ms else self.limit_units,
            "ahead_units": self.accrued_units(AHEAD_MS * NS_PER_MS),
        }
        for name, value in worked_out.items():
            object.__setattr__(self, name, value)
        # By itself: compiled, a flag that has been in a dict of integers is one.
        object.__setattr__(self, "is_callers", any(part in self.place for part in CALLERS_PLACES))

    def units(self, input_tokens: int, output_tokens: int) -> int:
        """What it counts of a request with so many tokens that no reservation pays for."""
        return self.of_request + self.of_input * input_tokens + self.of_output * output_tokens

    def accrued_units(self, elapsed_ns: int) -> int:
        """What accrues in a time, rounded down."""
        return elapsed_ns // NS_PER_MS * self.limit_units // self.period_ms if self.period_ms else 0

    def accrues_after_ms(self, units: int) -> int:
        """Time in which so many units accrue, rounded up."""
        return -(-max(0, units) * self.period_ms // self.limit_units) if self.limit_units else 0
