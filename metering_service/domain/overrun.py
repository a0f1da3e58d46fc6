"""Overrun: tokens that a server generated or read beyond what it was granted."""

from metering_service.domain.counts import Counts
from metering_service.domain.pot import HeldUnits


def overrun(usage: Counts, held: HeldUnits, granted_output_tokens: int) -> int:
    """Tokens of a request's first booking beyond its grant: output above it, input that no payer was found for.

    A request that never had a grant had no ceiling to keep to: for it, `granted_output_tokens` is what payers cover.
    """
    uncovered_input = max(0, usage.input_class - held.input_tokens)
    return uncovered_input + max(0, usage.output_class - granted_output_tokens)
