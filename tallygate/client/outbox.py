"""The outbox of the present stream: reports that wait to be sent, their numbers, and the two watermarks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tallygate.client.columns import Columns
from tallygate.client.state import FINISH, PROGRESS, RequestState
from tallygate.metering.v1 import metering_service_pb2, report_pb2

REPORTS_PER_MESSAGE_MAX: Final = 1_024
ENTRIES_PER_MESSAGE_MAX: Final = 4_096
"""Maximum number of entries of columns and reports together."""
RESUME_BYTES_PER_MESSAGE: Final = 1 << 20
"""Number of bytes of resume tokens after which the next reports go into another message: a message has an end."""
UNSENT_MAX: Final = 4_096
"""Maximum number of unsent reports until a request's progress replaces its progress that still waits."""


@dataclass(frozen=True, slots=True)
class _Sent:
    first_sequence: int
    last_sequence: int
    sent_ns: int
    heartbeat: bool


class Outbox:
    """Natural batching: reports that gather while one message is written leave in the next one.

    Pure: no clock, no socket. Kept in memory per stream: unsent reports (bounded, because progress merges), one entry
    per message that is not answered yet, and the finishes that are not durable.
    """

    def __init__(self, *, heartbeat_ns: int) -> None:
        self.columns = Columns()
        self._heartbeat_ns = heartbeat_ns
        self._unsent: deque[tuple[RequestState, report_pb2.TokenReport]] = deque()
        self._unanswered: deque[_Sent] = deque()
        self._finishes: deque[tuple[int, RequestState]] = deque()
        self._next_sequence = 1
        self.answered_through = 0
        self.durable_through = 0
        self.valid_until_ns = 0
        """Time until which the node has renewed every open grant of this stream."""
        self.reports_sent = 0
        """Number of reports sent over all streams."""

    def __len__(self) -> int:
        return len(self._unsent) + len(self.columns.marked)

    def queue(self, state: RequestState) -> None:
        """Queues the latest report of a request."""
        if len(self._unsent) >= UNSENT_MAX and _merges(state):
            assert state.queued is not None
            # The new report introduces the request again if the one that it replaces did.
            state.introduced = state.introduced and not state.queued.service
            state.queued.CopyFrom(state.make_report())
            return
        report = state.make_report()
        state.queued = report
        # Entries wait until this has left, so that the last that is said is the latest.
        state.entry_handle = 0
        self._unsent.append((state, report))

    def restart(self, states: Iterable[RequestState]) -> None:
        """Starts a new stream: numbers start again, and the latest report of every request in memory is queued again.

        Renewals by the last stream still hold: a grant outlives the stream that brought it.
        """
        states = list(states)
        for state in states:
            state.renewed_until_ns = max(state.renewed_until_ns, self.renewed_until_ns(state))
        self._unsent.clear()
        self._unanswered.clear()
        self._finishes.clear()
        self.columns.restart()
        self._next_sequence = 1
        self.answered_through = self.durable_through = self.valid_until_ns = 0
        for state in states:
            state.forget_stream()
            self.queue(state)

    def hang_up(self, states: Iterable[RequestState]) -> None:
        """Forgets all handles: there will be no stream on which they mean anything."""
        self.columns.restart()
        for state in states:
            state.forget_handle()

    def take(self, now_ns: int) -> metering_service_pb2.MeterRequest | None:
        """The next message; None if there is nothing to report."""
        first = self._next_sequence
        message = metering_service_pb2.MeterRequest(first_sequence=first)
        sequence = first + self._add_entries(message)
        sequence += self._add_reports(message, sequence)
        if sequence == first:
            return None
        self._next_sequence = sequence
        self.reports_sent += sequence - first
        self._unanswered.append(_Sent(first, sequence - 1, now_ns, heartbeat=False))
        return message

    def _add_entries(self, message: metering_service_pb2.MeterRequest) -> int:
        columns = self.columns
        if not columns.marked:
            return 0
        # Reports that wait keep their place: entries alone may fill every message of a busy server.
        count, by_report = columns.take(
            message, ENTRIES_PER_MESSAGE_MAX - min(len(self._unsent), REPORTS_PER_MESSAGE_MAX)
        )
        for state in by_report:
            state.begin_progress()
            self.queue(state)
        return count

    def _add_reports(self, message: metering_service_pb2.MeterRequest, first: int) -> int:
        reports, unsent, sequence, resume_bytes = message.reports, self._unsent, first, 0
        end = first + min(REPORTS_PER_MESSAGE_MAX, message.first_sequence + ENTRIES_PER_MESSAGE_MAX - first)
        while unsent and sequence < end and resume_bytes < RESUME_BYTES_PER_MESSAGE:
            state, report = unsent.popleft()
            if state.abandoned:
                continue
            self._number(state, report, sequence)
            reports.append(report)
            resume_bytes += len(report.resume)
            sequence += 1
        return sequence - first

    def heartbeat(self, now_ns: int) -> metering_service_pb2.MeterRequest:
        """A message without reports."""
        last = self._next_sequence - 1
        self._unanswered.append(_Sent(last + 1, last, now_ns, heartbeat=True))
        return metering_service_pb2.MeterRequest(first_sequence=self._next_sequence)

    def sent_ns(self, sequence: int) -> int | None:
        """When a report that is not answered yet was sent; None for any other."""
        for sent in self._unanswered:
            if sent.first_sequence <= sequence <= sent.last_sequence:
                return sent.sent_ns
        return None

    def advance(self, *, answered: int, durable: int, valid_for_ns: int | None, now_ns: int) -> list[RequestState]:
        """Moves the watermarks, which only grow, and renews grants; returns requests whose finish became durable.

        Validity counts from when the last answered message was sent. A heartbeat has no number, so what arrives soon
        after it may still answer its forerunner: it counts as answered only after another interval.
        """
        self.answered_through = max(self.answered_through, answered)
        self.durable_through = max(self.durable_through, durable)
        self.columns.advance(self.answered_through)
        origin_ns: int | None = None
        while self._unanswered and self._is_answered(self._unanswered[0], now_ns):
            origin_ns = self._unanswered.popleft().sent_ns
        if origin_ns is not None and valid_for_ns is not None:
            self.valid_until_ns = max(self.valid_until_ns, origin_ns + valid_for_ns)
        done: list[RequestState] = []
        while self._finishes and self._finishes[0][0] <= self.durable_through:
            done.append(self._finishes.popleft()[1])
        return done

    def is_answered(self, state: RequestState) -> bool:
        """Whether every report of a request has been sent and answered."""
        return state.queued is None and not state.is_marked and 0 < state.last_sequence <= self.answered_through

    def renewed_until_ns(self, state: RequestState) -> int:
        """Time until which this request's grant is renewed: by a stream that answered one of its reports."""
        taken_on = 0 < state.first_sequence <= self.answered_through
        return max(state.renewed_until_ns, self.valid_until_ns if taken_on else 0)

    def _is_answered(self, sent: _Sent, now_ns: int) -> bool:
        if not sent.heartbeat:
            return sent.last_sequence <= self.answered_through
        something_later = sent.last_sequence < self.answered_through
        waited = sent.last_sequence == self.answered_through and sent.sent_ns + self._heartbeat_ns <= now_ns
        return something_later or waited

    def _number(self, state: RequestState, report: report_pb2.TokenReport, sequence: int) -> None:
        if state.queued is report:
            state.queued = None
        state.ever_sent = True
        state.first_sequence = state.first_sequence or sequence
        state.last_sequence = sequence
        if report.phase == FINISH:
            self._finishes.append((sequence, state))
        else:
            self.columns.bind(state, report, sequence)
        if state.is_bound:
            state.choose_road()


def _merges(state: RequestState) -> bool:
    return state.phase == PROGRESS and state.queued is not None and state.queued.phase == PROGRESS
