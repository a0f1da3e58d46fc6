"""One Meter stream: sequence numbers, two watermarks, and the decisions to send next. It knows no wire."""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from metering_service.domain.decision import Decision, Reason, deny
from metering_service.domain.errors import MeteringError, RightsChangedError, SequenceGapError
from metering_service.domain.report import Phase, Report
from metering_service.domain.request import Request
from metering_service.usecases.access.stream_access import StreamAccess
from metering_service.usecases.lookups.parked import leave
from metering_service.usecases.lookups.service_choice import choose
from metering_service.usecases.node import Node
from metering_service.usecases.reports.key_check import ended
from metering_service.usecases.reports.process import malformed, process
from metering_service.usecases.state.look_up_rate import LookUpRate
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import Outcome, Parked, PendingCommits
from metering_service.usecases.state.waiting_room import account_of
from tallygate._access.rights import Rights
from tallygate._access.scope import scope_of_resource

PROGRESS: Final = Phase.PROGRESS.value
"""Phase of a progress report, as it is on the wire."""
AUTHORIZE: Final = Phase.AUTHORIZE.value
"""Phase of a report that asks for leave, as it is on the wire."""

NAMES_MAX = 65_536
"""Maximum of requests whose service one stream remembers, beside those that run: later reports need not name it."""

TOKENS_MAX: Final = 16_384
"""Maximum of resume tokens that one stream keeps, of requests that this node does not know yet."""

SHOWN_MAX: Final = 16_384
"""Maximum of requests whose API key one stream keeps until their service is known."""

PENDING_MAX: Final = 64
"""Maximum of messages that become durable one by one; while the database is away, later ones do so together."""

Named: TypeAlias = tuple[int | None, Decision]
"""A decision and the number of the report that it answers; None for an unasked one."""


class WireUsage(Protocol):
    """Counts as they came: what the fast road reads of them."""

    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int


class WireReport(Protocol):
    """A report as it came: what the fast road reads of it."""

    request_id: str
    service: str
    credential: str
    credential_sha256: bytes
    resume: bytes
    estimated: bool
    whole: bool

    @property
    def phase(self) -> int:
        """Its number on the wire."""

    @property
    def usage(self) -> WireUsage:
        """Its counts."""


class ShownKey(NamedTuple):
    """What a report showed by which its service is found."""

    key_sha256: bytes
    model: str
    source_address: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What goes into the next message."""

    answered_through: int
    durable_through: int
    grants_valid_for_ms: int
    decisions: tuple[Named, ...]


class MeterStream:
    """The state of one stream. `wake` is called when there is something to say.

    `rights`: of its caller; None at a node that asks for no proof.
    """

    def __init__(self, node: Node, wake: Callable[[], None], rights: Rights | None = None) -> None:
        self.keeps_open = True
        self.problem: MeteringError | None = None
        """Why the stream ends at once, if it does."""
        self._access = StreamAccess(rights) if rights is not None else None
        self._node = node
        self._wake = wake
        self._last_sequence = 0
        self._durable_through = 0
        self._parked: set[int] = set()
        self._pending: deque[tuple[int, PendingCommits]] = deque()
        self._names: OrderedDict[str, str] = OrderedDict()
        self._following: dict[str, Request] = {}
        self._tokens: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._shown: OrderedDict[str, ShownKey] = OrderedDict()
        self.look_ups = LookUpRate(node.settings.key_look_ups_per_s)
        self._said: list[Named] = []
        self._has_news = False
        self._is_leaving = False

    def take(self, first_sequence: int, reports: Sequence[WireReport], decode: Callable[[Any, str], Report]) -> None:
        """Decide on a message's reports, all in one pass. `decode` is given the service. Raises SequenceGapError.

        The fast road: progress of a request that this stream speaks of, inside the first half of its grant, of which
        only the output has grown. That is nearly all reports of a busy server. It takes its counts straight from the
        message, as integers, and leaves everything else to `_decide`: an eleventh of the time. Written out in the loop,
        since a call for each report would cost as much as all the rest of it.
        """
        if self._is_leaving:
            return
        if reports and first_sequence != self._last_sequence + 1:
            raise SequenceGapError(self._last_sequence + 1, first_sequence)
        pending = self._next_pending()
        pending.expect()
        # While the node is cut off, what goes on is answered by name.
        following = self._following if self._node.leases_valid else {}
        sequence, checkpoints = self._last_sequence, self._node.checkpoints
        counted = False
        for report in reports:
            sequence += 1
            if report.phase == PROGRESS and (request := following.get(report.request_id)) is not None:
                usage = report.usage
                output, reasoning = usage.output_tokens, usage.reasoning_tokens
                if (
                    request.output_tokens < output + reasoning <= request.quiet_tokens
                    and output >= 0
                    and reasoning >= 0
                    and usage.input_tokens == request.known_input
                    and usage.cached_input_tokens == request.known_cached_input
                    and usage.cache_write_tokens == request.known_cache_write
                    and request.session is self
                    and not (report.service or report.resume or report.estimated or report.whole)
                ):
                    request.fresh_output, request.fresh_reasoning = output, reasoning
                    request.output_tokens = output + reasoning
                    if not request.dirty:
                        checkpoints.note_counts(request)
                    counted = True
                    continue
            self._decide(decode(report, self._service_of(report)), sequence, pending)
        if counted and checkpoints.when_checkpointed(pending.done):
            pending.expect()
        self._last_sequence = sequence
        self._pending.append((sequence, pending))
        self._news()
        pending.done()

    def _decide(self, report: Report, sequence: int, pending: PendingCommits) -> None:
        """The road of every other report."""
        if not report.service:
            report = self._with_key(report)
        refused = malformed(report)
        if refused is not None:
            self._said.append((sequence, refused))
            return
        if not report.service:
            self._choose(report, sequence, pending)
            return
        self._name(report.request_id, report.service)
        self._following.pop(report.request_id, None)
        teams = self._access.teams(report.service) if self._access is not None else None
        if teams is not None and not teams:
            # As of a service that there is not: nothing that belongs to others is touched, or learnt of.
            self._said.append((sequence, deny(report.request_id, Reason.UNKNOWN_SERVICE)))
            return
        report = self._with_token(report)
        answer = process(self._node, report, self, sequence, pending, teams=teams)
        if report.resume:
            self._keep_token(report)
        self._take_answer(report, report.service, sequence, answer)

    def _choose(self, report: Report, sequence: int, pending: PendingCommits) -> None:
        """The road of a report that leaves it to an API key which service it is about."""
        self._following.pop(report.request_id, None)
        self._shown[report.request_id] = ShownKey(report.key_sha256, report.model, report.source_address)
        if len(self._shown) > SHOWN_MAX:
            self._shown.popitem(last=False)
        answer = choose(self._node, report, self, sequence, pending, scope=self._teams if self._access else None)
        self._take_answer(report, self._names.get(report.request_id, ""), sequence, answer)

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
        request.quiet_tokens = service.quiet_tokens(request)
        if request.quiet_tokens >= 0:
            self._following[request.request_id] = request

    def named(self, request_id: str, service: str) -> None:
        """An API key has led a request to this service: later reports need not name it."""
        self._shown.pop(request_id, None)
        self._name(request_id, service)

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
        self._has_news = False
        said, self._said = tuple(self._said), []
        answered = min(self._parked) - 1 if self._parked else self._last_sequence
        return Outgoing(answered, min(self._durable_through, answered), self._node.valid_for_ms(), said)

    @property
    def unsaid_count(self) -> int:
        """Decisions that the client has not taken yet."""
        return len(self._said)

    @property
    def idle(self) -> bool:
        """Whether everything that was reported is answered and durable."""
        return not self._parked and not self._pending

    def leave(self) -> None:
        """This node shuts down: take no more. Once `idle`, the stream may end; what runs goes on elsewhere."""
        self._is_leaving = True

    def rights_changed(self, rights: Rights) -> None:
        """The caller may do something else from now on: the stream ends unless that has all that it spoke of."""
        if self._access is None or self.problem is not None:
            return
        before, self._access = self._access, StreamAccess(rights)
        spoken_of = {*before.named, *(service.name for service, _ in self._requests())}
        lost = [name for name in spoken_of if self._has_lost(name, before, self._access)]
        if lost or self._access.is_empty:
            self.break_off(RightsChangedError(scope_of_resource(min(lost, default="")).name))

    def _has_lost(self, service: str, before: StreamAccess, after: StreamAccess) -> bool:
        """Whether a service could be spoken of before and cannot now; or may be one, while its team is not known."""
        teams_before, teams = before.teams(service), after.teams(service)
        if teams is None:
            return False
        state = self._node.services.get(service)
        if state is None or state.config is None:
            return teams_before is None or not teams_before <= teams
        return (teams_before is None or state.config.team in teams_before) and state.config.team not in teams

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

    def accounts_of_work(self, reports: Sequence[WireReport]) -> frozenset[str]:
        """The accounts on whose services a message reports what was done, so that it must not be refused."""
        return frozenset(account_of(self._service_of(report)) for report in reports if report.phase != AUTHORIZE)

    def has_room_for(self, accounts: AbstractSet[str]) -> bool:
        """Whether reports of work on services of these accounts may be taken in now."""
        room = self._node.room
        return not room.is_full_from(self) and room.full_accounts.isdisjoint(accounts)

    def _service_of(self, report: WireReport) -> str:
        """The service of a report: named in it, or earlier on this stream for the same id.

        What begins with an API key is not about what had this id before, unless that still runs.
        """
        if report.service:
            return report.service
        service = self._names.get(report.request_id, "")
        if service and report.phase == AUTHORIZE and (report.credential or report.credential_sha256):
            state = self._node.services.get(service)
            return service if state is not None and report.request_id in state.open else ""
        return service

    def _with_key(self, report: Report) -> Report:
        """The report with the API key that came before it, while that has not led to a service yet."""
        shown = self._shown.get(report.request_id) if not report.key_sha256 else None
        return report if shown is None else report._replace(**shown._asdict())

    def _teams(self, service: str) -> frozenset[str] | None:
        """Of a service that an API key has led to, the teams whose services this stream may speak of."""
        return self._access.teams(service) if self._access is not None else None

    def _name(self, request_id: str, service: str) -> None:
        """Remember the service of a request for reports that do not name it."""
        # Each text once: requests are many, services few.
        state = self._node.services.get(service)
        self._names[request_id] = state.name if state is not None else service
        if len(self._names) > NAMES_MAX:
            self._forget_names()

    def _with_token(self, report: Report) -> Report:
        """The report with the token that came before it on this stream, if this node does not know its request yet.

        What brought the token may be denied while the database does not answer. Without it nobody could tell that this
        goes on from a part of another node, and both would book it.
        """
        if report.resume or not self._tokens:
            return report
        return report._replace(resume=self._tokens.get((report.service, report.request_id), b""))

    def _keep_token(self, report: Report) -> None:
        """Keep the token of a report until its request is known here."""
        key = report.service, report.request_id
        service = self._node.services.get(report.service)
        if service is not None and (report.request_id in service.open or report.request_id in service.finished):
            self._tokens.pop(key, None)
            return
        self._tokens[key] = report.resume
        if len(self._tokens) > TOKENS_MAX:
            self._tokens.popitem(last=False)

    def _forget_names(self) -> None:
        """Forget the two oldest, one more than came; those whose requests still run count as new again."""
        for _ in range(2):
            oldest, name = self._names.popitem(last=False)
            self._following.pop(oldest, None)
            state = self._node.services.get(name)
            if state is not None and oldest in state.open:
                self._names[oldest] = name

    def _next_pending(self) -> PendingCommits:
        """What the next message waits for: where many messages wait already, together with the last of them."""
        if len(self._pending) < PENDING_MAX:
            return PendingCommits(self._advance)
        return self._pending.pop()[1]

    def _advance(self) -> None:
        while self._pending and self._pending[0][1].waiting == 0:
            self._durable_through = self._pending.popleft()[0]
            self._news()

    def _news(self) -> None:
        self._has_news = True
        self._wake()
