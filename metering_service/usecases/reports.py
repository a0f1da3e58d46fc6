"""The road of a report: checked, matched to its request, decided on, or parked until it can be."""

from metering_service.domain.counts import Tally
from metering_service.domain.decision import Decision, Reason, deny
from metering_service.domain.grant import is_past_half
from metering_service.domain.records import RequestRecord, SettlementState
from metering_service.domain.report import Phase, Report, problem
from metering_service.domain.request import Request, revive
from metering_service.domain.resume import decode as decode_resume
from metering_service.domain.service import ServiceConfig, Status
from metering_service.usecases.admission import authorise, granted, new_request, renew
from metering_service.usecases.node import Node
from metering_service.usecases.service_state import ServiceState
from metering_service.usecases.settle import finish
from metering_service.usecases.waiting import PARKED, Answer, Asker, Lookup, Mark, Parked, Waiter


def process(node: Node, report: Report, asker: Asker, sequence: int, mark: Mark) -> Answer:
    """Decide on one report. None: nothing to say beyond the watermark. PARKED: the asker is answered later."""
    wrong = problem(report)
    if wrong is not None:
        return deny(report.request_id, Reason.INVALID_REPORT, message=wrong)
    settings = node.settings
    if node.waiting_count >= settings.waiting_max and report.phase is Phase.AUTHORIZE:
        return deny(report.request_id, Reason.OVERLOADED)
    wait_ns = settings.settlement_wait_max_ns if report.phase is Phase.FINISH else settings.wait_max_ns
    waiter = Waiter(report, asker, sequence, mark, node.clock.monotonic_ns() + wait_ns)
    service = node.service(report.service)
    answer = decide(node, service, waiter)
    if isinstance(answer, Parked):
        mark.expect()
        service.waiters.append(waiter)
        node.waiting[service.name] = service
        node.waiting_count += 1
    return answer


def decide(node: Node, service: ServiceState, waiter: Waiter) -> Answer:  # noqa: PLR0911  # the fork of all roads
    """Decide on a report with what is known now."""
    config, report = service.config, waiter.report
    if config is None:
        return PARKED
    if config.status in (Status.UNKNOWN, Status.DELETED) and not config.uid:
        return deny(report.request_id, Reason.UNKNOWN_SERVICE, config_version=config.version)
    request = service.open.get(report.request_id) or service.finished.get(report.request_id)
    # A finish that comes out of nowhere may be a repeat of one that was booked and forgotten here.
    if request is None and (report.resume or report.phase is Phase.FINISH):
        if waiter.lookup is not Lookup.DONE:
            return _look_up(node, service, waiter)
        token = decode_resume(report.resume) if report.resume else None
        if token is not None and node.clock.now_us() - token.start_us > node.settings.id_retention_us:
            return deny(report.request_id, Reason.TOO_OLD, config_version=config.version)
    if report.phase is Phase.AUTHORIZE:
        return _authorise(node, service, config, request, waiter)
    if request is None:
        # Work that was done is recorded in full, whoever failed to ask first.
        part = "" if report.phase is Phase.FINISH and not report.resume else node.new_part()
        request = service.open[report.request_id] = new_request(node, config, report, part=part)
    _hear(node, service, request, waiter)
    if report.phase is Phase.FINISH or not request.is_open:
        return finish(node, service, request, waiter)
    return _progress(node, service, config, request)


def retry(node: Node, service: ServiceState) -> None:
    """Decide again on what waits, in order: something has changed."""
    if not service.waiters:
        return
    service.ask_again()
    waiters = list(service.waiters)
    service.waiters.clear()
    for waiter in waiters:
        answer = decide(node, service, waiter)
        if isinstance(answer, Parked):
            service.waiters.append(waiter)
        else:
            _answer(node, waiter, answer)
    if not service.waiters:
        node.waiting.pop(service.name, None)


def expire(node: Node) -> None:
    """Answer what has waited long enough with what is known."""
    now_ns = node.clock.monotonic_ns()
    for service in list(node.waiting.values()):
        due = [waiter for waiter in service.waiters if waiter.deadline_ns <= now_ns]
        if not due:
            continue
        for waiter in due:
            answer = _last_word(node, service, waiter)
            if not isinstance(answer, Parked):
                service.waiters.remove(waiter)
                _answer(node, waiter, answer)
        retry(node, service)
        if not service.waiters:
            service.ask_again()
            node.waiting.pop(service.name, None)


def _answer(node: Node, waiter: Waiter, answer: Decision | None) -> None:
    node.waiting_count -= 1
    waiter.asker.answer(waiter.sequence, answer)
    waiter.mark.done()


def found(node: Node, service: ServiceState, request_id: str, parts: list[RequestRecord]) -> None:
    """The database has answered: go on with the request as its record left it."""
    for waiter in service.waiters:
        if waiter.report.request_id == request_id and waiter.lookup is Lookup.UNDER_WAY:
            waiter.lookup = Lookup.DONE
            _revive(node, service, waiter.report, parts)
    retry(node, service)


def _revive(node: Node, service: ServiceState, report: Report, parts: list[RequestRecord]) -> None:
    """Bring back the part that a report goes on with: the one its token names, else the latest."""
    token = decode_resume(report.resume) if report.resume else None
    if report.request_id in service.open or report.request_id in service.finished:
        return
    settled = [part for part in parts if part.state is not SettlementState.OPEN]
    meant = [part for part in settled if token is None or part.part == token.part]
    if not meant:
        return
    request = revive(meant[-1], node.clock.monotonic_ns())
    if request.state is SettlementState.HANDED_OVER:
        request.state = SettlementState.OPEN
        service.open[report.request_id] = request
    else:
        service.finished[report.request_id] = request
        node.finished[(service.name, report.request_id)] = node.clock.monotonic_ns()


def _look_up(node: Node, service: ServiceState, waiter: Waiter) -> Answer:
    if waiter.lookup is Lookup.NOT_NEEDED:
        waiter.lookup = Lookup.UNDER_WAY
        node.errands.look_up(service, waiter.report.request_id)
    return PARKED


def _authorise(
    node: Node, service: ServiceState, config: ServiceConfig, request: Request | None, waiter: Waiter
) -> Answer:
    report = waiter.report
    if request is None:
        admitted = authorise(node, service, config, report)
        if not isinstance(admitted, Request):
            if isinstance(admitted, Decision):
                node.books.count_denial(service, report.credential, admitted)
            return admitted
        request = admitted
    elif not request.is_open:
        return deny(report.request_id, Reason.REQUEST_ID_REUSED, config_version=config.version)
    _listen(node, service, request, waiter.asker)
    refusal = config.refusal()
    if refusal is not None:
        return deny(report.request_id, refusal, config_version=config.version)
    return granted(node, config, request)


def _hear(node: Node, service: ServiceState, request: Request, waiter: Waiter) -> None:
    """Merge what a report says. A change must be committed before the report is durable."""
    report = waiter.report
    merged = request.tally.merge(Tally.of(report.counts, finish=report.phase is Phase.FINISH))
    if request.is_open:
        _listen(node, service, request, waiter.asker)
        request.estimated = report.estimated
        if merged.counts != request.tally.counts:
            waiter.mark.expect()
            node.books.checkpoint(service, request, waiter.mark.done)
        request.tally = merged
    elif merged.counts.total > request.tally.counts.total:
        # What is booked is not booked anew by a report that only sorts the same tokens otherwise.
        request.tally = merged


def _listen(node: Node, service: ServiceState, request: Request, asker: Asker) -> None:
    request.last_heard_ns = node.clock.monotonic_ns()
    if asker.keeps_open:
        request.session = asker
        node.silent.pop((service.name, request.request_id), None)
    elif request.session is None:
        node.silent[(service.name, request.request_id)] = request


def _progress(node: Node, service: ServiceState, config: ServiceConfig, request: Request) -> Answer:
    refusal = config.refusal()
    if refusal is not None:
        request.told_to_stop = True
        return deny(request.request_id, refusal, config_version=config.version)
    grown = request.counts.input_class > request.held.input_tokens
    if not grown and not is_past_half(request.output_tokens, request.ceiling_tokens):
        return None
    return renew(node, service, config, request)


def _last_word(node: Node, service: ServiceState, waiter: Waiter) -> Answer:
    """What is known when a report has waited long enough."""
    report = waiter.report
    if report.phase is Phase.FINISH and service.config is not None:
        return decide(node, service, waiter) if waiter.lookup is not Lookup.UNDER_WAY else PARKED
    overdue_ns = node.clock.monotonic_ns() - waiter.deadline_ns
    if node.control_answers and overdue_ns < node.settings.answer_wait_max_ns:
        return PARKED
    reachable = node.leases_valid and service.config is not None
    reason = Reason.BUDGET_CONTENDED if reachable else Reason.CONTROL_UNREACHABLE
    if waiter.lookup is Lookup.UNDER_WAY:
        if report.phase is not Phase.AUTHORIZE:
            return PARKED
        reason = Reason.STORAGE_UNAVAILABLE
    version = service.config.version if service.config is not None else 0
    request = service.open.get(report.request_id)
    if report.phase is Phase.PROGRESS and request is not None and request.output_tokens < request.ceiling_tokens:
        return None
    decision = deny(report.request_id, reason, config_version=version)
    if report.phase is Phase.AUTHORIZE:
        node.books.count_denial(service, report.credential, decision)
    return decision
