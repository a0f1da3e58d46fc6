"""What simulated inference servers say: four mixes of reports, all token kinds counted, within their grants."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from benchmarks.wire import AnySegment, ColumnSegment, Group, Order, Phase, Segment, tail
from tallygate.metering.v1.report_pb2 import TokenReport
from tallygate.metering.v1.token_usage_pb2 import TokenUsage

PROGRESS_REPORTS = 8
"""Of each request of the mix of whole lives."""
GROUP = 64
"""Requests of that mix that are in step: the generator puts a message together from few pieces."""
EVEN_GROUP = 8
"""The same where time matters: as many as begin in the time of one message, so all messages are alike."""
_REASONING = 130
"""Tokens, of requests that are in progress."""
RENEWALS = 8
"""Rounds of the mix in which each report renews its grant. Grants go to four times what was generated, so counts must
double, and have an end."""
FIRST_RENEWAL_TOKENS = 640
GRANT_FACTOR = 4
"""Multiple of what was generated that a grant goes to."""
SHUFFLES = 8
"""Of which one is drawn for each round of progress in any order."""


def _usage(output: int, reasoning: int) -> TokenUsage:
    return TokenUsage(
        input_tokens=300,
        cached_input_tokens=200,
        cache_write_tokens=150,
        output_tokens=output,
        reasoning_tokens=reasoning,
    )


def total(usage: TokenUsage) -> int:
    """All tokens of one request."""
    return (
        usage.input_tokens
        + usage.cached_input_tokens
        + usage.cache_write_tokens
        + usage.output_tokens
        + usage.reasoning_tokens
    )


def whole(usage: TokenUsage, max_output_tokens: int) -> bytes:
    """What asks for all that may be generated at once."""
    report = TokenReport(
        phase=Phase.REPORT_PHASE_AUTHORIZE, usage=usage, max_output_tokens=max_output_tokens, whole=True
    )
    return report.SerializeToString()


_ASKED = tail(Phase.REPORT_PHASE_AUTHORIZE, _usage(0, 0))
_FINAL = _usage(200, 40)
_FINISHED = tail(Phase.REPORT_PHASE_FINISH, _FINAL)


@dataclass(slots=True)
class Said:
    """What was finished, and must be on record in the end."""

    requests: int = 0
    tokens: int = 0

    def finish(self, requests: int, usage: TokenUsage) -> None:
        """So many requests ended with these counts each."""
        self.requests += requests
        self.tokens += requests * total(usage)


class Mix(Protocol):
    """The reports of one stream, in order: first `opening`, then `running` without end, then `closing`."""

    said: Said
    not_durable_first: int
    not_durable_max: int
    """A stream waits while more reports than so many are not durable, since a server that is overfull denies.

    It is the first number in the beginning, and then as many more as become durable in time, up to the second.
    """
    unanswered_max: int
    """More reports than that are never on the way: nobody reports on a request before it is allowed."""
    handles: int
    """Handles that requests of it are bound to, from 0 on."""

    def opening(self) -> list[Segment]:
        """What must be so before the measurement, one step after the other."""

    def running(self) -> Iterator[AnySegment]:
        """What is measured."""

    def closing(self) -> Iterator[Segment]:
        """Ends what is still open."""


class Progress:
    """The same open requests in turn: one more token each time."""

    not_durable_first = not_durable_max = unanswered_max = 10**9
    handles = 0

    def __init__(self, stream: str, services: Sequence[str], requests: int, turn: float) -> None:
        self.said = Said()
        self._turn = turn
        self._group = Group([f"{stream}-{number:07d}" for number in range(requests)], services)
        self._output = 128

    def opening(self) -> list[Segment]:
        """Authorises them all; then they begin, so that their grants are as large as they need to be."""
        return [self._group.naming(_ASKED), self._group.of(self._so_far(Phase.REPORT_PHASE_PROGRESS))]

    def running(self) -> Iterator[AnySegment]:
        """Counts that rise by one."""
        while True:
            self._output += 1
            yield self._progress()

    def closing(self) -> Iterator[Segment]:
        """Finishes them all."""
        self.said.finish(self._group.size, _usage(self._output, _REASONING))
        yield self._group.of(self._so_far(Phase.REPORT_PHASE_FINISH))

    def _progress(self) -> AnySegment:
        return self._group.of(self._so_far(Phase.REPORT_PHASE_PROGRESS))

    def _so_far(self, phase: Phase.ValueType) -> bytes:
        return tail(phase, _usage(self._output, _REASONING))


class AnyOrder(Progress):
    """The same, and each round in an order of its own: what reports next of a real server, nobody can foresee."""

    def running(self) -> Iterator[Segment]:
        """To shuffle from scratch would cost five times as much: of a few shuffles one is done to the last order."""
        lots, order = Random(self._turn), list(range(self._group.size))  # noqa: S311  # the same in each run
        shuffles = [lots.sample(order, len(order)) for _ in range(SHUFFLES)]
        while True:
            self._output += 1
            segment = self._group.of(self._so_far(Phase.REPORT_PHASE_PROGRESS))
            order = [order[number] for number in lots.choice(shuffles)]
            yield Segment([segment.heads[number] for number in order], segment.tail, authorises=False)


class Renewing(Progress):
    """The same, and each report is past half of its grant. It has an end.

    As many requests as are measured have held all that these will hold, and are over by then: so the node has it on
    lease, and nobody waits for control.
    """

    def __init__(self, stream: str, services: Sequence[str], requests: int, turn: float) -> None:
        super().__init__(stream, services, requests, turn)
        self._held = Group([f"{stream}-held-{number:07d}" for number in range(requests)], services)

    def opening(self) -> list[Segment]:
        """Holds all of it, and lets go of it."""
        self.said.finish(self._held.size, _FINAL)
        held = whole(_usage(0, 0), FIRST_RENEWAL_TOKENS * (GRANT_FACTOR + 1) << RENEWALS)
        return [self._held.naming(held), self._held.of(_FINISHED), *super().opening()]

    def running(self) -> Iterator[AnySegment]:
        """Counts that more than double."""
        self._output = FIRST_RENEWAL_TOKENS
        for _ in range(RENEWALS):
            self._output = 2 * self._output + 1
            yield self._progress()


class _InColumns(Progress):
    """Progress that is said in columns; the rest goes by report."""

    def __init__(self, stream: str, services: Sequence[str], requests: int, turn: float) -> None:
        super().__init__(stream, services, requests, turn)
        self.handles = requests
        self._order = Order(range(1, requests + 1))

    def opening(self) -> list[Segment]:
        """As with reports, and each request is bound to a handle."""
        *before, _, begun = super().opening()
        return [*before, self._group.binding(_ASKED), begun]

    def _progress(self) -> AnySegment:
        return ColumnSegment(self._order, self._output, _REASONING)


class Columns(_InColumns):
    """Progress in turn, in columns."""


class ColumnsAnyOrder(_InColumns):
    """The same in any order: which requests are in a message, nobody can foresee. Within it they are sorted."""

    def running(self) -> Iterator[AnySegment]:
        """A few orders, of which one is drawn for each round."""
        lots, handles = Random(self._turn), range(1, self.handles + 1)  # noqa: S311  # the same in each run
        orders = [Order(lots.sample(handles, len(handles))) for _ in range(SHUFFLES)]
        for _ in super().running():
            self._order = lots.choice(orders)
            yield self._progress()


class ColumnsRenewing(_InColumns, Renewing):
    """Each entry is past half of its grant."""


class Life:
    """New requests all the time: authorised, eight times in progress, finished. Ten reports each."""

    not_durable_first = not_durable_max = 40_960
    handles = 0

    _GROUP = GROUP
    _PROGRESSES: tuple[bytes, ...] = tuple(
        tail(Phase.REPORT_PHASE_PROGRESS, _usage(20 * number, 4 * number)) for number in range(1, PROGRESS_REPORTS + 1)
    )

    def __init__(self, stream: str, services: Sequence[str], requests: int, turn: float) -> None:
        """`turn`: where in a round of the others this stream begins, from 0 to 1.

        Servers are not in step. If all streams were, their authorisations would all come in the same moment.
        """
        self.said = Said()
        self._stream = stream
        self._services = services
        self._first_group = max(1, round(self._GROUP * (1 - turn)))
        self._open: deque[Group] = deque()
        progresses = len(self._PROGRESSES)
        self._depth = max(2, requests // (self._GROUP * (progresses + 1)))
        self._number = 0
        self.unanswered_max = self._depth * self._GROUP * (progresses + 2)
        first = range(self._depth * self._GROUP * (progresses + 1))
        self._first = Group([f"{stream}-first-{number:05d}" for number in first], services)

    def opening(self) -> list[Segment]:
        """As many requests as will run at once, so that the server has leases for them."""
        return [self._first.naming(_ASKED)]

    def running(self) -> Iterator[Segment]:
        """In each round a new group begins, and `_depth` rounds later it is one report further."""
        while True:
            group = self._begin()
            yield group.naming(_ASKED)
            for number, what in enumerate(self._PROGRESSES, start=1):
                if number * self._depth < len(self._open):
                    yield self._open[-1 - number * self._depth].of(what)
            if len(self._open) > (len(self._PROGRESSES) + 1) * self._depth:
                yield self._finish()

    def closing(self) -> Iterator[Segment]:
        """Finishes what runs."""
        while self._open:
            yield self._finish()
        self.said.finish(self._first.size, _FINAL)
        yield self._first.of(_FINISHED)

    def _begin(self) -> Group:
        first = self._number
        self._number += self._GROUP if first else self._first_group
        ids = [f"{self._stream}-{number:07d}" for number in range(first, self._number)]
        self._open.append(Group(ids, self._services))
        return self._open[-1]

    def _finish(self) -> Segment:
        group = self._open.popleft()
        self.said.finish(group.size, _FINAL)
        return group.of(_FINISHED)


class Brief(Life):
    """The same without progress: authorised and finished, as a request is counted elsewhere."""

    _PROGRESSES = ()


class EvenLife(Life):
    """The same, a few at a time: requests of a server do not begin by the dozen in the same moment."""

    _GROUP = EVEN_GROUP


class Finishes:
    """Requests that nobody asked for: all that is heard of each is that it has ended."""

    not_durable_first, not_durable_max = 512, 4_096
    unanswered_max = 10**9
    handles = 0

    def __init__(self, stream: str, services: Sequence[str], _requests: int, _turn: float) -> None:
        self.said = Said()
        self._stream = stream
        self._services = services
        self._first = Group([f"{stream}-first"], services)

    def opening(self) -> list[Segment]:
        """One request, so that the server knows the service."""
        return [self._first.naming(_ASKED)]

    def running(self) -> Iterator[Segment]:
        """One finish after the other."""
        for first in range(0, 10**9, GROUP):
            ids = [f"{self._stream}-{number:07d}" for number in range(first, first + GROUP)]
            self.said.finish(GROUP, _FINAL)
            yield Group(ids, self._services).naming(_FINISHED)

    def closing(self) -> Iterator[Segment]:
        """Finishes the first."""
        self.said.finish(self._first.size, _FINAL)
        yield self._first.of(_FINISHED)


class Refused:
    """Requests that are all denied: each is asked for, and that was all."""

    not_durable_first = not_durable_max = unanswered_max = 10**9
    handles = 0

    def __init__(self, stream: str, services: Sequence[str], requests: int, _turn: float) -> None:
        self.said = Said()
        self._group = Group([f"{stream}-{number:07d}" for number in range(requests)], services)

    def opening(self) -> list[Segment]:
        """Asks for them all."""
        return [self._group.naming(_ASKED)]

    def running(self) -> Iterator[Segment]:
        """Nothing."""
        return iter(())

    def closing(self) -> Iterator[Segment]:
        """Nothing."""
        return iter(())


class Asked:
    """Requests that are only asked for, one group after the other; what is finished in the end."""

    not_durable_first, not_durable_max = 512, 4_096
    unanswered_max = 10**9
    handles = 0

    def __init__(self, stream: str, services: Sequence[str]) -> None:
        self.said = Said()
        self._stream = stream
        self._services = services
        self._groups: list[Group] = []

    def opening(self) -> list[Segment]:
        """Nothing."""
        return []

    def running(self) -> Iterator[Segment]:
        """Authorises new ones."""
        for first in range(0, 10**9, GROUP):
            ids = [f"{self._stream}-{number:07d}" for number in range(first, first + GROUP)]
            self._groups.append(Group(ids, self._services))
            yield self._groups[-1].naming(_ASKED)

    def closing(self) -> Iterator[Segment]:
        """Finishes them all, on a stream that has not heard of them."""
        for group in self._groups:
            self.said.finish(group.size, _FINAL)
            yield group.naming(_FINISHED)


MIXES: dict[str, type[Progress | Life | Finishes | Refused]] = {
    "progress": Progress,
    "any order": AnyOrder,
    "renewing": Renewing,
    "columns": Columns,
    "columns, any order": ColumnsAnyOrder,
    "columns, renewing": ColumnsRenewing,
    "life": Life,
    "brief": Brief,
    "even life": EvenLife,
    "finishes": Finishes,
    "refused": Refused,
}
