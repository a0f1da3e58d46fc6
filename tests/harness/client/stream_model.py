"""One Meter stream as the contract has it: what a client may say on it, and what that means."""

from __future__ import annotations

from dataclasses import dataclass, field

from tallygate.metering.v1 import metering_service_pb2, report_pb2, token_usage_pb2

AUTHORIZE = report_pb2.REPORT_PHASE_AUTHORIZE
PROGRESS = report_pb2.REPORT_PHASE_PROGRESS
FINISH = report_pb2.REPORT_PHASE_FINISH
ENTRIES_MAX = 4_096
TOKENS_MAX = 100_000_000


@dataclass(frozen=True, slots=True)
class Heard:
    """A report as the node understands it; of an entry, the report that it stands for, and its handle."""

    sequence: int
    report: report_pb2.TokenReport
    handle: int = 0


@dataclass(eq=False)
class StreamModel:
    """Takes a client's messages, and fails where one breaks a rule. `handles_max`: 0 for a node without columns."""

    handles_max: int = 0
    offered: bool = False
    """Whether a response has said `handles_max`."""
    answered_through: int = 0
    last_sequence: int = 0
    bound: dict[int, tuple[str, int]] = field(default_factory=dict)
    """The request of each handle, and the number of the report that bound it."""
    latest: dict[str, report_pb2.TokenReport] = field(default_factory=dict)
    """Report of each request that was said last, or that an entry stands for."""
    denied: set[str] = field(default_factory=set)
    """Requests whose denial has been answered."""
    entries: int = 0

    def take(self, message: metering_service_pb2.MeterRequest) -> list[Heard]:
        """What a message says, in order."""
        columns, reports = message.columns, message.reports
        count = len(columns.handles)
        assert count + len(reports) <= ENTRIES_MAX
        if not message.HasField("columns") and not reports:
            return []
        assert message.first_sequence == self.last_sequence + 1
        if message.HasField("columns"):
            assert self.offered
            assert count
            assert len(columns.output_tokens) == count
            assert len(columns.reasoning_tokens) in {0, count}
            assert list(columns.handles) == sorted(set(columns.handles))
        reasoning: list[int | None] = [*columns.reasoning_tokens] or [None] * count
        heard = [self._entry(*entry) for entry in zip(columns.handles, columns.output_tokens, reasoning, strict=True)]
        heard += [self._report(report) for report in reports]
        self.entries += count
        return heard

    def answer(self, through: int) -> None:
        """Notes that a response said this, and with it what the stream offers."""
        self.offered = self.handles_max > 0
        self.answered_through = max(self.answered_through, through)

    def _entry(self, handle: int, output_tokens: int, reasoning_tokens: int | None) -> Heard:
        assert 0 <= output_tokens <= TOKENS_MAX
        assert 0 <= (reasoning_tokens or 0) <= TOKENS_MAX
        request_id, bound_sequence = self.bound[handle]
        assert bound_sequence <= self.answered_through
        assert request_id not in self.denied
        before = self.latest[request_id]
        assert before.phase != FINISH
        report = report_pb2.TokenReport(
            request_id=request_id, phase=PROGRESS, usage=before.usage, estimated=before.estimated
        )
        report.usage.output_tokens = output_tokens
        if reasoning_tokens is not None:
            report.usage.reasoning_tokens = reasoning_tokens
        return self._note(report, handle)

    def _report(self, report: report_pb2.TokenReport) -> Heard:
        before = self.latest.get(report.request_id)
        assert report.service or report.credential or report.credential_sha256 or before is not None
        if before is not None:
            # Callers may record one id again.
            assert before.phase != FINISH or report.phase == FINISH
        if report.handle:
            assert self.offered
            assert report.phase in {AUTHORIZE, PROGRESS}
            assert 0 < report.handle <= self.handles_max
            self.bound[report.handle] = report.request_id, self.last_sequence + 1
        if report.phase == FINISH:
            self.bound = {handle: bound for handle, bound in self.bound.items() if bound[0] != report.request_id}
        return self._note(report)

    def _note(self, report: report_pb2.TokenReport, handle: int = 0) -> Heard:
        self.last_sequence += 1
        self.latest[report.request_id] = report
        return Heard(self.last_sequence, report, handle)


def total_of(usage: token_usage_pb2.TokenUsage) -> int:
    """Its output class."""
    return usage.output_tokens + usage.reasoning_tokens
