"""Counts of what commits have brought to the database: some additions for each cell of a commit, none for a report."""

from typing import Final

from metering_service.domain.records import WOULD_DENY, AggregateDelta, CommitBatch
from tallygate._server.metrics.histogram import SIZE_BOUNDS, Histogram

PAYERS: Final = ("reserved", "trial", "billed", "unfunded")
"""Payers of tokens, and that nobody pays."""
KINDS: Final = ("input", "cached_input", "cache_write", "output", "reasoning")
"""Kinds of tokens, in the order of `Counts`."""
DRY_RUN: Final = "DRY_RUN"
"""Reason under which denials that rules in dry run would have made are counted."""


class CommitCounts:
    """Of one epoch of a node."""

    def __init__(self) -> None:
        self.durations = Histogram()
        self.sizes = Histogram(SIZE_BOUNDS)
        """Number of records and pages in a commit."""
        self.retries = 0
        self.requests = 0
        """Requests whose first booking was committed."""
        self.tokens: dict[str, int] = dict.fromkeys(PAYERS, 0)
        """Tokens that were booked, by who pays."""
        self.tokens_by_kind: dict[str, int] = dict.fromkeys(KINDS, 0)
        self.overrun_tokens = 0
        self.cost_nanos = 0
        self.debt_nanos = 0
        self.denied: dict[str, int] = {}
        """Authorisations that were denied, by reason."""

    def note(self, batch: CommitBatch, duration_ns: int) -> None:
        """It was committed."""
        self.durations.observe(duration_ns)
        self.sizes.observe(len(batch.requests) + len(batch.counts) + len(batch.leases) + len(batch.unauthorised))
        for _, cell in batch.aggregates:
            self._add(cell)
        for key, count in batch.denials:
            reason = DRY_RUN if key.reason.startswith(WOULD_DENY) else key.reason
            self.denied[reason] = self.denied.get(reason, 0) + count

    def _add(self, cell: AggregateDelta) -> None:
        """Counters only grow: what a revision takes back is not taken back here."""
        self.requests += cell.request_count
        tokens, by_kind = self.tokens, self.tokens_by_kind
        paid = (cell.reserved_tokens, cell.trial_tokens, cell.billed_tokens, cell.unfunded_tokens)
        for payer, count in zip(PAYERS, paid, strict=True):
            tokens[payer] += max(0, count)
        for kind, count in zip(KINDS, cell.usage, strict=True):
            by_kind[kind] += max(0, count)
        self.overrun_tokens += max(0, cell.overrun_tokens)
        self.cost_nanos += max(0, cell.cost_nanos)
        self.debt_nanos += max(0, cell.debt_nanos)
