"""Counts of what streams and calls bring and are answered: a few additions for each message."""

from metering_service.domain.decision import Decision
from metering_service.usecases.stream_messages import Outgoing
from tallygate._server.metrics.histogram import Histogram


class MeterCounts:
    """Of one epoch of a node."""

    def __init__(self) -> None:
        self.streams_open = 0
        self.streams_begun = 0
        self.messages = 0
        self.reports = 0
        """Reports by name, those of unary calls included."""
        self.entries = 0
        """Entries of columns."""
        self.allowed = 0
        self.denied: dict[str, int] = {}
        """Denials that were said, by reason."""
        self.receipts = 0
        self.grants = 0
        self.grants_final = 0
        self.decision_durations = Histogram()
        """From when a message was read until it was decided on, or parked."""

    def note_message(self, report_count: int, entry_count: int, duration_ns: int) -> None:
        """A message was taken."""
        self.messages += 1
        self.reports += report_count
        self.entries += entry_count
        self.decision_durations.observe(duration_ns)

    def note_said(self, outgoing: Outgoing) -> None:
        """A message goes out."""
        raised = len(outgoing.grants)
        self.allowed += raised
        self.grants += raised
        for _, decision in outgoing.decisions:
            self.note(decision)

    def note_call(self, decision: Decision) -> None:
        """A unary report was answered."""
        self.reports += 1
        self.note(decision)

    def note(self, decision: Decision) -> None:
        """A decision is said by name."""
        if decision.reason is not None:
            reason = decision.reason.name
            self.denied[reason] = self.denied.get(reason, 0) + 1
        elif decision.receipt is None:
            self.allowed += 1
        if decision.receipt is not None:
            self.receipts += 1
        grant = decision.grant
        if grant is not None:
            self.grants += 1
            self.grants_final += grant.is_final
