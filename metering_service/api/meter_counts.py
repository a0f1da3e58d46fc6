"""Counts of what streams and calls bring and are answered.

Of a message that says nothing by name only the time is counted; how many reports it had follows from the watermarks.
"""

from metering_service.domain.decision import Decision
from metering_service.usecases.meter_stream import MeterStream
from metering_service.usecases.stream_messages import Outgoing
from tallygate._server.metrics.histogram import Histogram


class MeterCounts:
    """Of one epoch of a node."""

    def __init__(self) -> None:
        self.streams: dict[MeterStream, int] = {}
        """Streams that are open, and up to which number each is answered."""
        self.streams_begun = 0
        self._calls = 0
        self._ended_answered = 0
        self._ended_entries = 0
        self.allowed = 0
        self.denied: dict[str, int] = {}
        """Denials that were said, by reason."""
        self.receipts = 0
        self.grants = 0
        self.grants_final = 0
        self.decision_durations = Histogram()
        """From when a message was read until it was decided on, or parked."""

    def begin(self, stream: MeterStream) -> None:
        """A stream was opened."""
        self.streams[stream] = 0
        self.streams_begun += 1

    def end(self, stream: MeterStream) -> None:
        """A stream is gone."""
        self._ended_answered += self.streams.pop(stream)
        self._ended_entries += stream.entry_count

    @property
    def entries(self) -> int:
        """Entries of columns that were taken."""
        return self._ended_entries + sum(stream.entry_count for stream in self.streams)

    @property
    def reports(self) -> int:
        """Reports by name that were answered, those of unary calls included."""
        answered = self._ended_answered + sum(self.streams.values())
        return self._calls + max(0, answered - self.entries)

    def note_said(self, stream: MeterStream, outgoing: Outgoing) -> None:
        """A message goes out."""
        self.streams[stream] = outgoing.answered_through
        raised = len(outgoing.grants)
        self.allowed += raised
        self.grants += raised
        for _, decision in outgoing.decisions:
            self.note(decision)

    def note_call(self, decision: Decision) -> None:
        """A unary report was answered."""
        self._calls += 1
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
