"""The road of a report: checked, matched to its request, decided on, or parked until it can be."""

from functools import partial
from typing import Final

from metering_service.domain.api_key import KeyProblem
from metering_service.domain.counts import NOTHING
from metering_service.domain.decision import Decision, Reason, deny
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase, Report, echo, problem
from metering_service.domain.request import Request
from metering_service.domain.service import ServiceConfig, Status
from metering_service.usecases.node import Node
from metering_service.usecases.reports.admission import (
    authorise,
    confirmed,
    granted,
    name_part,
    new_request,
    renew,
    stamp_now,
)
from metering_service.usecases.reports.cutting import cut
from metering_service.usecases.reports.finish import finish
from metering_service.usecases.reports.handover import ends_chain, is_elsewhere, verify
from metering_service.usecases.reports.key_check import (
    ended,
    follow,
    let_in,
    let_on,
    note_unauthorised,
    refused,
    with_known_key,
)
from metering_service.usecases.reports.plain import NOT_PLAIN, NotPlain, authorise_plainly, finish_plainly
from metering_service.usecases.reports.rules import asks_renewal, nearest
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import PARKED, Lookup, Outcome, Parked, PendingCommits, Reporter, Waiter


def malformed(report: Report) -> Decision | None:
    """The denial of a report that is wrong in itself; until it is known not to be, nothing of a report is kept."""
    wrong = problem(report)
    return deny(echo(report.request_id), Reason.INVALID_REPORT, message=wrong) if wrong is not None else None


NOT_GIVEN: Final = (
    "resume is not the token of a grant of this request, and there is no record of it: authorise it, or report FINISH."
)


def process(
    node: Node,
    report: Report,
    reporter: Reporter,
    sequence: int,
    pending: PendingCommits,
    *,
    teams: frozenset[str] | None = None,
) -> Outcome:
    """Decide on one report that `malformed` has passed. None: the watermark says enough. PARKED: answered later.

    `teams`: those whose services the reporter may speak of; None for all of the account.
    """
    if report.phase is Phase.AUTHORIZE:
        if not node.room.may_begin(report.service, reporter):
            return deny(report.request_id, Reason.OVERLOADED)
        begun = authorise_plainly(node, report, reporter) if teams is None else NOT_PLAIN
        if not isinstance(begun, NotPlain):
            return begun
    elif report.phase is Phase.FINISH and teams is None:
        finished = finish_plainly(node, report, reporter, sequence, pending)
        if not isinstance(finished, NotPlain):
            return finished
    return enter(node, _waiter(node, report, reporter, sequence, pending, teams=teams))


def await_renewal(
    node: Node,
    report: Report,
    reporter: Reporter,
    sequence: int,
    pending: PendingCommits,
    *,
    teams: frozenset[str] | None,
) -> None:
    """Have progress wait whose counts are taken in, and for which is asked what its renewal lacks."""
    _park(node, node.services[report.service], _waiter(node, report, reporter, sequence, pending, teams=teams))


def _waiter(
    node: Node,
    report: Report,
    reporter: Reporter,
    sequence: int,
    pending: PendingCommits,
    *,
    teams: frozenset[str] | None,
) -> Waiter:
    return Waiter(
        report, reporter, sequence, pending, deadline_of(node, report), is_verified=not report.resume, teams=teams
    )


def note_renewal(service: ServiceState, waiter: Waiter) -> None:
    """Progress on a stream waits: if that is for the renewal of its request, once is enough for all that follows."""
    request = service.open.get(waiter.report.request_id)
    of_stream = waiter.report.phase is Phase.PROGRESS and waiter.reporter.keeps_open
    if request is not None and of_stream and waiter.lookup is not Lookup.UNDER_WAY:
        waiter.renews, request.awaited_by = request, waiter.reporter


def forget_renewal(waiter: Waiter) -> None:
    """It is decided on, now or again."""
    if waiter.renews is not None:
        waiter.renews.awaited_by = None
        waiter.renews = None


def deadline_of(node: Node, report: Report) -> int:
    """When a report that comes now has waited long enough."""
    settings = node.settings
    wait_ns = settings.booking_wait_max_ns if report.phase is Phase.FINISH else settings.wait_max_ns
    return node.clock.monotonic_ns() + wait_ns


def enter(node: Node, waiter: Waiter) -> Outcome:
    """Decide on a report whose service is named, or park it there."""
    service = node.service(waiter.report.service)
    service.last_used_ns = node.clock.monotonic_ns()
    answer = decide(node, service, waiter)
    if isinstance(answer, Parked):
        _park(node, service, waiter)
        return answer
    return with_service(waiter, answer)


def _park(node: Node, service: ServiceState, waiter: Waiter) -> None:
    waiter.pending.expect()
    waiter.parked_ns = node.clock.monotonic_ns()
    note_renewal(service, waiter)
    service.waiters.append(waiter)
    node.waiting[service.name] = service
    node.room.enter(service.name, waiter.reporter)


def with_service(waiter: Waiter, answer: Decision | None) -> Decision | None:
    """The answer together with the service that an API key led to; a key that opens nothing leads nowhere."""
    if not waiter.is_chosen or waiter.report.phase is not Phase.AUTHORIZE or answer is None:
        return answer
    if answer.reason is Reason.CREDENTIAL_INVALID:
        return answer
    return answer._replace(service=waiter.report.service)


def decide(node: Node, service: ServiceState, waiter: Waiter) -> Outcome:  # noqa: PLR0911  # the fork of all roads
    """Decide on a report with what is known now."""
    config, report = service.config, waiter.report
    if config is None:
        return PARKED
    if _is_unknown(service, config, waiter):
        return _no_service(config, waiter)
    if not waiter.is_verified:
        verify(node, service, waiter)
    request = service.open.get(report.request_id) or service.finished.get(report.request_id)
    if waiter.lookup is not Lookup.DONE and (is_elsewhere(waiter, request) or ends_chain(node, waiter, request)):
        return _query(node, service, waiter)
    if request is not None and not request.is_owned:
        # Decided on when it is known which node owns the finish before it.
        waiter.lookup = Lookup.UNDER_WAY
        return PARKED
    if request is None and waiter.token is not None:
        age_us = node.clock.now_us() - waiter.token.start_us
        if age_us > node.settings.id_retention_us:
            return deny(report.request_id, Reason.TOO_OLD, config_version=config.version)
    if report.phase is Phase.AUTHORIZE:
        return _authorise(node, service, config, request, waiter)
    if request is None and report.phase is Phase.FINISH and waiter.start is None:
        return _enter_unauthorised(node, service, config, waiter)
    return _count(node, service, config, request, waiter)


def _no_service(config: ServiceConfig, waiter: Waiter) -> Decision:
    """The denial of a report on a service that is not there for its reporter; a key that leads there opens nothing."""
    report = waiter.report
    if waiter.is_chosen and report.phase is not Phase.FINISH:
        return refused(report, KeyProblem.NO_SERVICE)
    version = 0 if waiter.is_chosen else config.version
    return deny(report.request_id, Reason.UNKNOWN_SERVICE, config_version=version)


def _is_unknown(service: ServiceState, config: ServiceConfig, waiter: Waiter) -> bool:
    """Whether there is no such service, or the reporter may not speak of services of its team.

    What was begun before the service went to another team is its reporter's to say until it ends: it is booked in full.
    """
    if not config.uid and config.status in (Status.UNKNOWN, Status.DELETED):
        return True
    report, teams = waiter.report, waiter.teams
    if teams is None or config.team in teams:
        return False
    request = service.open.get(report.request_id) or service.finished.get(report.request_id)
    return report.phase is Phase.AUTHORIZE or request is None or request.stamp.team not in teams


def _count(
    node: Node, service: ServiceState, config: ServiceConfig, request: Request | None, waiter: Waiter
) -> Outcome:
    """Progress or a finish, of a request that is known or, though nobody asked for it, runs."""
    report = waiter.report
    if request is None and waiter.start is None and report.resume and waiter.token is None:
        return deny(report.request_id, Reason.INVALID_REPORT, message=NOT_GIVEN, config_version=config.version)
    if request is None:
        # Work that was done is recorded in full, even where nobody asked first.
        if waiter.start is None and note_unauthorised(node, service, config, waiter) is not None:
            return PARKED
        report = waiter.report
        request = new_request(node, service, report, waiter.start, part=name_part(node, waiter.start))
        request.earlier = waiter.earlier
        service.open[report.request_id] = request
        node.checkpoints.begin(request)
        follow(node, request, waiter)
    if not request.is_open:
        return _count_late(node, service, config, request, waiter)
    if report.resume and waiter.reporter.keeps_open and request.session is not waiter.reporter:
        waiter.comes_back = True
    has_changed = _learn(node, service, request, waiter)
    _await_counts(node, request, waiter, has_changed=has_changed)
    if report.phase is Phase.FINISH:
        return finish(node, service, request, waiter)
    answer = _progress(node, service, config, request, waiter)
    if answer is None and waiter.comes_back:
        # The stream before this one may have broken before it brought the grant as it stands.
        return granted(node, service, config, request)
    return answer


def _count_late(node: Node, service: ServiceState, config: ServiceConfig, request: Request, waiter: Waiter) -> Outcome:
    """Counts of a request that is booked already."""
    report = waiter.report
    request.learn(report.tally.merge(waiter.exact))
    stop = None
    if report.phase is Phase.PROGRESS and request.state is RequestState.TIMED_OUT:
        # It was booked behind its server's back: what it generates from now on is overrun.
        stop = cut(node, request, deny(report.request_id, Reason.REQUEST_ID_REUSED, config_version=config.version))
    reached = request.reached_by(report.counts)
    answer = finish(node, service, request, waiter)
    if not isinstance(answer, Parked):
        _count_receipt(node, service, reached, waiter)
    return stop if answer is None else answer


def _count_receipt(node: Node, service: ServiceState, request: Request, waiter: Waiter) -> None:
    """A stream that says a finish again has its receipt with the commit: until then that is one more report that waits.

    What it said first is bounded by what may begin; calls are counted by themselves.
    """
    if waiter.report.want_receipt and waiter.reporter.keeps_open:
        node.room.enter(service.name, waiter.reporter)
        node.buffer.when_durable(request, partial(node.room.leave, service.name, waiter.reporter))


def _enter_unauthorised(node: Node, service: ServiceState, config: ServiceConfig, waiter: Waiter) -> Outcome:
    """A finish without authorisation may come to two nodes at once: the one that enters it first books it."""
    if note_unauthorised(node, service, config, waiter) is not None:
        return PARKED
    report = waiter.report
    request = new_request(node, service, report, None, part="")
    request.tally = report.tally
    request.run_in(node.checkpoints.running)
    service.open[report.request_id] = request
    waiter.lookup = Lookup.UNDER_WAY
    node.buffer.enter_unauthorised(service, request)
    return PARKED


def _query(node: Node, service: ServiceState, waiter: Waiter) -> Outcome:
    if waiter.lookup is Lookup.NOT_NEEDED:
        waiter.lookup = Lookup.UNDER_WAY
        node.work.query_request(service, waiter.report.request_id)
    return PARKED


def _authorise(
    node: Node, service: ServiceState, config: ServiceConfig, request: Request | None, waiter: Waiter
) -> Outcome:
    report = waiter.report
    if request is None:
        admitted = _admit(node, service, config, waiter)
        if not isinstance(admitted, Request):
            if isinstance(admitted, Decision):
                node.count_denial(service, stamp_now(node, service, waiter.report), admitted)
            return admitted
        request = admitted
        if waiter.token is None:
            node.work.query_reuse(service, request)
    elif not request.is_open:
        reused = deny(report.request_id, Reason.REQUEST_ID_REUSED, config_version=config.version)
        report = with_known_key(node, service, report)
        node.count_denial(service, stamp_now(node, service, report), reused)
        return reused
    elif (stop := let_on(node, service, config, request, waiter)) is not None:
        return stop
    _attach(node, service, request, waiter.reporter)
    refusal = config.refusal()
    if refusal is not None:
        return cut(node, request, deny(report.request_id, refusal, config_version=config.version))
    if not request.authorised:
        return renew(node, service, config, request)
    answer = granted(node, service, config, request)
    return answer if request.rules is None else answer._replace(rate=nearest(node, request))


def _admit(node: Node, service: ServiceState, config: ServiceConfig, waiter: Waiter) -> Request | Outcome:
    """Admit a request that is not known, if its API key lets it in. What goes on from elsewhere needs none again."""
    if waiter.report.key_sha256 or (config.requires_key and waiter.start is None):
        stop = let_in(node, service, config, waiter)
        if stop is not None:
            return stop
    report = waiter.report
    admitted = authorise(node, service, config, report, waiter.start)
    if isinstance(admitted, Request):
        follow(node, admitted, waiter)
    return admitted


def _learn(node: Node, service: ServiceState, request: Request, waiter: Waiter) -> bool:
    """Merge what a report says of an open request; whether that changes anything."""
    before, tally = request.tally, waiter.report.tally
    request.learn(tally if waiter.exact is NOTHING else tally.merge(waiter.exact))
    _attach(node, service, request, waiter.reporter)
    return request.tally != before


def _await_counts(node: Node, request: Request, waiter: Waiter, *, has_changed: bool) -> None:
    """A change must be committed before the report is durable."""
    waiter.pending.expect()
    if has_changed:
        node.checkpoints.add(request, waiter.pending.done)
    else:
        # A repeat: it is durable when what it repeats is.
        node.buffer.when_counts_durable(request, waiter.pending.done)


def _attach(node: Node, service: ServiceState, request: Request, reporter: Reporter) -> None:
    if reporter.keeps_open:
        request.session = reporter
        node.silent.pop(request, None)
    elif request.session is None:
        node.fall_silent(service, request)


def _progress(node: Node, service: ServiceState, config: ServiceConfig, request: Request, waiter: Waiter) -> Outcome:
    refusal = config.refusal()
    if refusal is not None:
        request.stop_sent = True
        return cut(node, request, deny(request.request_id, refusal, config_version=config.version))
    problem = ended(node, config, request)
    if problem is not None:
        request.stop_sent = True
        return cut(node, request, refused(waiter.report, problem, config.version))
    grown = request.counts.input_class > request.held.input_tokens
    if not grown and not asks_renewal(request):
        return confirmed(node, service, config, request)
    if waiter.reporter.keeps_open and request.awaited_by is waiter.reporter:
        # An engine says each step: what was said before of this request is renewed by what is known now.
        return None
    return renew(node, service, config, request)
