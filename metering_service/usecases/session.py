"""One Meter stream: numbers, two watermarks, and what is to be said next. It knows no wire."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from metering_service.domain.decision import Decision
from metering_service.domain.errors import SequenceGap
from metering_service.domain.report import Phase, Report
from metering_service.usecases.node import Node
from metering_service.usecases.reports import process
from metering_service.usecases.waiting import Mark, Parked

Named: TypeAlias = tuple[int | None, Decision]
"""A decision and the number of the report that it answers; None for an unasked one."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What goes into the next message."""

    answered_through: int
    durable_through: int
    grants_valid_for_ms: int
    decisions: tuple[Named, ...]


class Session:
    """The state of one stream. `wake` is called when there is something to say."""

    keeps_open = True

    def __init__(self, node: Node, wake: Callable[[], None]) -> None:
        self._node = node
        self._wake = wake
        self._last_sequence = 0
        self._durable_through = 0
        self._parked: set[int] = set()
        self._marks: deque[tuple[int, Mark]] = deque()
        self._names: dict[str, str] = {}
        self._said: list[Named] = []
        self._has_news = False

    def take(self, first_sequence: int, reports: Sequence[Report]) -> None:
        """Decide on a message's reports, all in one pass. Raises SequenceGap."""
        if reports and first_sequence != self._last_sequence + 1:
            raise SequenceGap(self._last_sequence + 1, first_sequence)
        mark = Mark(self._advance)
        mark.expect()
        sequence = self._last_sequence
        for report in reports:
            sequence += 1
            answer = process(self._node, self._named(report), self, sequence, mark)
            if isinstance(answer, Parked):
                self._parked.add(sequence)
            elif answer is not None:
                self._said.append((sequence, answer))
        self._last_sequence = sequence
        self._marks.append((sequence, mark))
        self._news()
        mark.done()

    def answer(self, sequence: int, decision: Decision | None) -> None:
        """See Asker."""
        self._parked.discard(sequence)
        if decision is not None:
            self._said.append((sequence, decision))
        self._news()

    def order(self, decision: Decision) -> None:
        """See Asker."""
        self._said.append((None, decision))
        self._news()

    def receipt(self, sequence: int, decision: Decision) -> None:
        """See Asker."""
        self._said.append((sequence, decision))
        self._news()

    def drain(self) -> Outgoing | None:
        """What is to be said now; None if there is nothing new."""
        if not self._has_news:
            return None
        self._has_news = False
        said, self._said = tuple(self._said), []
        answered = min(self._parked) - 1 if self._parked else self._last_sequence
        return Outgoing(answered, min(self._durable_through, answered), self._node.valid_for_ms(), said)

    @property
    def idle(self) -> bool:
        """Whether everything that was reported is answered and durable."""
        return not self._parked and not self._marks

    def close(self) -> None:
        """The stream is gone: its open requests stay resumable for the resume window."""
        for service in self._node.services.values():
            for request in service.open.values():
                if request.session is self:
                    request.session = None
                    request.last_heard_ns = self._node.clock.monotonic_ns()
                    self._node.silent[(service.name, request.request_id)] = request

    def _named(self, report: Report) -> Report:
        """A report with its service: named in it, or earlier on this stream for the same id."""
        if report.service:
            if report.phase is Phase.FINISH:
                self._names.pop(report.request_id, None)
            else:
                self._names[report.request_id] = report.service
            return report
        service = self._names.get(report.request_id, "")
        return replace(report, service=service) if service else report

    def _advance(self) -> None:
        while self._marks and self._marks[0][1].waiting == 0:
            self._durable_through = self._marks.popleft()[0]
            self._news()

    def _news(self) -> None:
        self._has_news = True
        self._wake()
