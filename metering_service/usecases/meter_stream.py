"""One Meter stream: sequence numbers, two watermarks, and the decisions to send next. It knows no wire."""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from metering_service.domain.decision import Decision, Reason, deny
from metering_service.domain.errors import MeteringError, RightsChangedError, SequenceGapError
from metering_service.domain.handles import Entry, Handles, WireColumns
from metering_service.domain.report import HANDLES_MAX, NO_HANDLE, Phase, Report
from metering_service.domain.request import Request
from metering_service.domain.running_counts import QuietReports
from metering_service.usecases.access.stream_access import StreamAccess
from metering_service.usecases.lookups.parked import leave
from metering_service.usecases.lookups.service_choice import choose
from metering_service.usecases.node import Node
from metering_service.usecases.reports.key_check import ended
from metering_service.usecases.reports.process import await_renewal, malformed, process
from metering_service.usecases.state.look_up_rate import LookUpRate
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import Outcome, Parked, PendingCommits
from metering_service.usecases.state.waiting_room import account_of
from metering_service.usecases.stream_columns import UNORDERED_ENTRY, ColumnRoad
from metering_service.usecases.stream_finishes import FinishRoad
from metering_service.usecases.stream_memory import StreamMemory
from metering_service.usecases.stream_messages import AUTHORIZE, FINISH, PROGRESS, Outgoing, Raised, WireReport
from metering_service.usecases.stream_watermark import DurableWatermark
from tallygate._access.rights import Rights
from tallygate._access.scope import scope_of_resource

SLOW_STEP = 256
"""Number of reports that are looked at in one go; then others have a turn."""
COALESCED_MAX: Final = 8
"""Maximum of messages with columns that are answered together, as long as nothing is to be said by name."""
UNSAID_GRANTS_MAX: Final = 1_024
"""Maximum of raised grants that wait for that."""


class MeterStream:
    """The state of one stream. `wake` is called when there is something to say, `wake_soon` where that may wait.

    `rights`: of its caller; None at a node that asks for no proof.
    """

    def __init__(
        self,
        node: Node,
        wake: Callable[[], None],
        rights: Rights | None = None,
        wake_soon: Callable[[], None] | None = None,
    ) -> None:
        self.keeps_open = True
        self.entry_count = 0
        self.problem: MeteringError | None = None  # why the stream ends at once, if it does
        self._access = StreamAccess(rights) if rights is not None else None
        self._node = node
        self._wake = wake
        self._wake_soon = wake_soon or wake
        self._decode: Callable[[Any, str], Report]
        self._last_sequence = 0
        self._undecided = 0  # the first report of the last message that is not decided on yet; 0: they all are
        self._watermark = DurableWatermark(lambda: self._news(soon=self._coalesces))
        self._parked: set[int] = set()
        self._memory = StreamMemory(node.services, lambda request_id: self._following.pop(request_id, None))
        self._following: dict[str, QuietReports] = {}  # requests without a handle
        self._handles = Handles()
        self.look_ups = LookUpRate(node.settings.key_look_ups_per_s)
        self.look_ups_for_work = LookUpRate(node.settings.key_look_ups_per_s)
        self._columns = ColumnRoad(node, self._handles, self._follow)
        self._said = self._columns.said
        self._finishes = FinishRoad(
            node, self, self._memory, self._handles, following=self._following, teams=self._teams
        )
        self._handles_max, self._coalesces = HANDLES_MAX, False
        self._unanswered_messages = 0
        self._has_news = self._is_leaving = False

    def take(
        self,
        first_sequence: int,
        reports: Sequence[WireReport],
        decode: Callable[[Any, str], Report],
        columns: WireColumns | None = None,
    ) -> Iterator[None]:
        """Decide on a message; `decode` is given the service. Raises SequenceGapError.

        What needs no look at its request is taken in at once, and of the rest one step. Returns the other steps, to be
        taken with a turn for others in between; until then the watermark does not pass what is not decided.
        """
        if self._is_leaving:
            return iter(())
        entries = len(columns.handles) if columns is not None else 0
        if (count := entries + len(reports)) and first_sequence != self._last_sequence + 1:
            raise SequenceGapError(self._last_sequence + 1, first_sequence)
        self._undecided = self._last_sequence + 1
        self._last_sequence += count
        pending = self._watermark.await_message(self._last_sequence)
        self._coalesces = entries > 0
        self.entry_count += entries
        self._decode = decode
        steps = self._steps(reports, columns if entries else None, pending)
        next(steps, None)
        return steps

    def _steps(
        self, reports: Sequence[WireReport], columns: WireColumns | None, pending: PendingCommits
    ) -> Iterator[None]:
        first = self._undecided
        if columns is not None:
            left = self._columns.take(columns, first, pending)
            for begin in range(0, len(left), SLOW_STEP):
                if begin:
                    self._undecided = first + left[begin].position
                    self._news()
                    yield
                    if not self.keeps_open:
                        return
                self._decide_entries(left[begin : begin + SLOW_STEP], first, pending)
            first += len(columns.handles)
        numbered = enumerate(reports, first)
        while self._take_reports(numbered, pending):
            self._news()
            yield
            if not self.keeps_open:
                return
        self._undecided = 0
        self._unanswered_messages += 1
        self._news(soon=self._coalesces and not self._said)
        pending.done()

    def _take_reports(self, numbered: Iterator[tuple[int, WireReport]], pending: PendingCommits) -> bool:
        """Decide on the next reports, until so many had to be looked at; whether there may be more.

        The fast road: progress of a request that this stream speaks of, inside the first half of its grant, of which
        only the output has grown. That is nearly all reports of a busy server. Its counts are taken straight from the
        message, as integers: an eleventh of the time of `_decide`. A call for each report would cost as much again.
        """
        running, room = self._node.checkpoints.running, SLOW_STEP
        # While the node is cut off, what goes on is answered by name.
        following = self._following if self._node.leases_valid else {}
        lines, dirty, counted = running.line_writer, running.dirty, False
        for sequence, report in numbered:
            if report.phase == PROGRESS and (known := following.get(report.request_id)) is not None:
                usage = report.usage
                reasoning = usage.reasoning_tokens
                total = usage.output_tokens + reasoning
                if (
                    known.total < total <= known.quiet_tokens
                    and 0 <= reasoning <= total
                    and usage.input_tokens == known.input
                    and usage.cached_input_tokens == known.cached_input
                    and usage.cache_write_tokens == known.cache_write
                    and not (report.service or report.resume or report.estimated or report.handle)
                ):
                    known.total = lines[known.total_at] = total
                    if reasoning != known.reasoning:
                        known.reasoning = lines[known.reasoning_at] = reasoning
                    dirty[known.slot] = 1
                    counted = True
                    continue
            if report.phase != FINISH or not self._finishes.take(report, pending):
                self._finishes.book(pending)
                self._decide(self._decode(report, self._memory.service_of(report)), sequence, pending)
                lines, dirty = running.line_writer, running.dirty
            room -= 1
            if not room:
                self._undecided = sequence + 1
                break
        self._finishes.book(pending)
        if counted:
            self._node.checkpoints.await_counts(pending)
        return not room

    def _decide_entries(self, entries: Sequence[Entry], first: int, pending: PendingCommits) -> None:
        """The road of entries that have to be looked at: as of reports that say the same."""
        columns, handles, has_renewed = self._columns, self._handles, False
        may_renew = columns.may_renew
        for entry in entries:
            request_id = handles.id_of(entry.handle)
            sequence = first + entry.position
            if not (request_id and entry.follows):
                wrong = f"handle {entry.handle} is not bound." if entry.follows else UNORDERED_ENTRY
                self._said.append((sequence, deny(request_id, Reason.INVALID_REPORT, message=wrong)))
                continue
            renewed = may_renew and columns.renew(entry, sequence)
            if renewed is True:
                has_renewed = True
                continue
            report = columns.as_report(entry, request_id, self._memory.named(request_id))
            if renewed is False:
                self._decide(report, sequence, pending, entry.handle)
            else:
                has_renewed = True
                self._await_renewal(report, sequence, pending)
        if has_renewed:
            self._node.checkpoints.await_counts(pending)

    def _decide(self, report: Report, sequence: int, pending: PendingCommits, handle: int = NO_HANDLE) -> None:
        """The road of every other report. `handle`: of the column's entry that says it."""
        if not report.service:
            report = self._memory.with_key(report)
        refused = malformed(report)
        if refused is not None:
            self._said.append((sequence, refused))
            return
        self._leave_fast_road(report)
        if not report.service:
            self._choose(report, sequence, pending)
            return
        self._memory.name(report.request_id, report.service)
        teams = self._teams(report.service)
        if teams is not None and not teams:
            # As of a service that there is not: nothing that belongs to others is touched, or learnt of.
            self._said.append((sequence, deny(report.request_id, Reason.UNKNOWN_SERVICE)))
            return
        report = self._memory.with_token(report)
        answer = process(self._node, report, self, sequence, pending, teams=teams)
        if report.resume:
            self._memory.keep_token(report)
        # While the node is cut off, grants are valid as each of them says.
        if handle and isinstance(answer, Decision) and answer.raises and self._node.leases_valid:
            assert answer.grant is not None
            self._columns.raised.append(Raised(sequence, handle, answer.grant))
            answer = None
        self._take_answer(report, report.service, sequence, answer)

    def _await_renewal(self, report: Report, sequence: int, pending: PendingCommits) -> None:
        self._leave_fast_road(report)
        await_renewal(self._node, report, self, sequence, pending, teams=self._teams(report.service))
        self._parked.add(sequence)

    def _leave_fast_road(self, report: Report) -> None:
        """Nothing of a request passes until its report is decided on. Its handle is bound, or by a finish unbound."""
        request_id, handles = report.request_id, self._handles
        self._following.pop(request_id, None)
        if report.phase is Phase.FINISH:
            handles.unbind(request_id)
            return
        if report.handle:
            handles.bind(report.handle, request_id)
        handle = handles.handle_of(request_id)
        if handle:
            handles.set_ticket(handle)
            if report.phase is Phase.PROGRESS:
                handles.note_estimate(request_id, estimated=report.estimated)

    def _choose(self, report: Report, sequence: int, pending: PendingCommits) -> None:
        """The road of a report that leaves it to an API key which service it is about."""
        self._memory.show_key(report)
        answer = choose(self._node, report, self, sequence, pending, scope=self._teams if self._access else None)
        self._take_answer(report, self._memory.named(report.request_id), sequence, answer)

    def _take_answer(self, report: Report, service: str, sequence: int, answer: Outcome) -> None:
        if isinstance(answer, Parked):
            # A finish that waits is answered: what else there is to say of it comes once it is durable.
            if report.phase is not Phase.FINISH:
                self._parked.add(sequence)
            return
        if answer is not None:
            self._said.append((sequence, answer))
        if report.phase is not Phase.FINISH:
            self._follow(report.request_id, service)

    def _follow(self, request_id: str, name: str) -> None:
        """Let what comes next of a running request take the fast road, as far as its grant goes."""
        service = self._node.services.get(name)
        request = service.open.get(request_id) if service is not None else None
        if service is None or request is None or request.session is not self:
            return
        if self._node.keys.of_request and service.config and ended(self._node, service.config, request):
            return
        quiet_tokens, running = service.quiet_tokens(request), request.running
        if quiet_tokens < 0 or running is None or self._handles.is_estimated(request_id):
            return
        handle = self._handles.handle_of(request_id)
        if not handle:
            self._following[request.request_id] = running.admit_reports(request.slot, quiet_tokens)
        else:
            self._handles.set_ticket(handle, running.admit(request.slot, quiet_tokens))

    def named(self, request_id: str, service: str) -> None:
        """An API key has led a request to this service: later reports need not name it."""
        self._memory.forget_key(request_id)
        self._memory.name(request_id, service)

    def answer(self, sequence: int, decision: Decision | None) -> None:
        """Queue the decision on a report that was parked; the watermark may move."""
        self._parked.discard(sequence)
        if decision is not None:
            self._said.append((sequence, decision))
        self._news()

    def order(self, decision: Decision) -> None:
        """Queue a decision that nobody requested."""
        self._said.append((None, decision))
        self._news()

    def receipt(self, sequence: int, decision: Decision) -> None:
        """Queue the receipt of a finish that is committed."""
        self._said.append((sequence, decision))
        self._news()

    def drain(self) -> Outgoing | None:
        """What is to be said now; None if there is nothing new."""
        if not self._has_news:
            return None
        self._has_news, self._unanswered_messages = False, 0
        said, raised = tuple(self._said), tuple(self._columns.raised)
        self._said.clear()
        self._columns.raised.clear()
        handles_max, self._handles_max = self._handles_max, 0
        undecided = min(self._parked, default=self._last_sequence + 1)
        answered = min(undecided, self._undecided or undecided) - 1
        return Outgoing(
            answered, min(self._watermark.through, answered), self._node.valid_for_ms(), said, raised, handles_max
        )

    @property
    def unsaid_count(self) -> int:
        """Decisions that the client has not taken yet."""
        return len(self._said) + len(self._columns.raised)

    @property
    def idle(self) -> bool:
        """Whether everything that was reported is answered and durable."""
        return not self._parked and not self._watermark.waiting

    def leave(self) -> None:
        """This node shuts down: take no more. Once `idle`, the stream may end; what runs goes on elsewhere."""
        self._is_leaving = True

    def rights_changed(self, rights: Rights) -> None:
        """The caller may do something else from now on: the stream ends unless that has all that it spoke of."""
        if self._access is None or self.problem is not None:
            return
        before, self._access = self._access, StreamAccess(rights)
        spoken_of = {*before.named, *(service.name for service, _ in self._requests())}
        lost = [name for name in spoken_of if before.loses(self._access, name, self._team_of(name))]
        if lost or self._access.is_empty:
            self.break_off(RightsChangedError(scope_of_resource(min(lost, default="")).name))

    def _team_of(self, service: str) -> str | None:
        """The team of a service; None while that is not known."""
        state = self._node.services.get(service)
        return state.config.team if state is not None and state.config is not None else None

    def break_off(self, error: MeteringError) -> None:
        """End at once: nothing more is taken, and what is open is as of a stream that broke."""
        if self.problem is None:
            self.problem = error
            self._is_leaving = True
            self.close()
            self._wake()

    def close(self) -> None:
        """The stream is gone: its open requests stay resumable for the resume window."""
        if not self.keeps_open:
            return
        self.keeps_open = False
        leave(self._node, self)
        for service, request in self._requests():
            request.session = None
            self._node.fall_silent(service, request)

    def _requests(self) -> list[tuple[ServiceState, Request]]:
        """The open requests that this stream spoke of last."""
        return [
            (service, request)
            for service in self._node.services.values()
            for request in service.open.values()
            if request.session is self
        ]

    def accounts_of_work(self, reports: Sequence[WireReport], columns: WireColumns | None = None) -> frozenset[str]:
        """The accounts on whose services a message reports what was done, so that it must not be refused."""
        handles = columns.handles if columns is not None else ()
        services = {self._memory.named(self._handles.id_of(handle)) for handle in handles}
        services.update(self._memory.service_of(report) for report in reports if report.phase != AUTHORIZE)
        return frozenset(map(account_of, services))

    def has_room_for(self, accounts: AbstractSet[str]) -> bool:
        """Whether reports of work on services of these accounts may be taken in now."""
        room = self._node.room
        return not room.is_full_from(self) and room.full_accounts.isdisjoint(accounts)

    def _teams(self, service: str) -> frozenset[str] | None:
        """The teams whose services this stream may speak of in a service's account; None for all, empty for none."""
        return self._access.teams(service) if self._access is not None else None

    def _news(self, *, soon: bool = False) -> None:
        """There is something to say: at once, or `soon` where it is watermarks and raised grants only."""
        self._has_news = True
        if soon and self._unanswered_messages < COALESCED_MAX and len(self._columns.raised) <= UNSAID_GRANTS_MAX:
            self._wake_soon()
        else:
            self._wake()
