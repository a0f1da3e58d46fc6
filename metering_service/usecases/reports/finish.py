"""The end of a request: its server finished it, or counts of it come late."""

from metering_service.domain.api_key import KeyProblem
from metering_service.domain.booking import book
from metering_service.domain.decision import Decision, deny
from metering_service.domain.funding import extend
from metering_service.domain.outage import tokens_of
from metering_service.domain.rate_charges import counted_of
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase, Report
from metering_service.domain.request import Request
from metering_service.domain.service import Status
from metering_service.usecases.node import Node
from metering_service.usecases.reports.key_check import refused
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import PARKED, Outcome, PendingCommits, Reporter, Waiter


def finish(node: Node, service: ServiceState, request: Request, waiter: Waiter) -> Outcome:
    """Book a finished request; or, where it is booked already, counts that came late.

    Those are booked by all the parts that lead to it, each up to where the next one begins. Its receipt is that of the
    last part that the report reaches into.
    """
    reached = request.reached_by(waiter.report.counts)
    ended = (reached, request) if waiter.report.phase is Phase.FINISH else ()
    may_wait = node.clock.monotonic_ns() < waiter.deadline_ns
    if not book_chain(node, service, request, RequestState.FINISHED, ended=ended, may_wait=may_wait):
        return PARKED
    for part in request.chain:
        if part is not reached:
            waiter.pending.expect()
            node.buffer.when_durable(part, waiter.pending.done)
    return _answer(
        node,
        service,
        reached,
        waiter.report,
        reporter=waiter.reporter,
        sequence=waiter.sequence,
        pending=waiter.pending,
        key_problem=waiter.key_problem,
    )


def finish_alone(
    node: Node,
    service: ServiceState,
    request: Request,
    report: Report,
    *,
    reporter: Reporter,
    sequence: int,
    pending: PendingCommits,
) -> Decision | None:
    """Book a finished request that has enough held, and no other parts."""
    book_part(node, service, request, RequestState.FINISHED)
    return _answer(node, service, request, report, reporter=reporter, sequence=sequence, pending=pending)


def book_part(node: Node, service: ServiceState, request: Request, state: RequestState) -> None:
    """Book, and keep the request in memory for repeats, unless a later part of it has taken its place there."""
    if request.is_open:
        node.silent.pop(request, None)  # One that timed out is still to be looked at again.
    if node.keys.of_request or node.keys.unfollowed:
        node.keys.ended(request)
    request.state = state
    request.leave_fast_road()
    booking = book(request, node.clock.now_us())
    service.take(request, booking)
    if request.rules is not None:
        request.rules.end(counted_of(booking.receipt.usage, booking.receipt.reserved), node.clock.monotonic_ns())
        request.rules = None
    node.buffer.put_booking(service, request, booking)
    if service.outage is not None:
        service.outage.book(request, tokens_of(booking.held) - tokens_of(request.held))
    node.unpaid.pop(request, None)
    known = service.open if request.request_id in service.open else service.finished
    if known.get(request.request_id) is not request:
        return
    service.open.pop(request.request_id, None)
    service.finished[request.request_id] = request
    key = (service.name, request.request_id)
    node.finished[key] = node.clock.monotonic_ns()
    node.finished.move_to_end(key)


def forget_finished(node: Node) -> None:
    """Forget finished requests that are old or too many: from then on the database is asked for them."""
    before_ns = node.clock.monotonic_ns() - node.settings.finished_kept_ns
    while node.finished:
        (name, request_id), at_ns = next(iter(node.finished.items()))
        if at_ns > before_ns and len(node.finished) <= node.settings.finished_kept_max:
            return
        del node.finished[(name, request_id)]
        node.services[name].finished.pop(request_id, None)


def book_chain(
    node: Node,
    service: ServiceState,
    request: Request,
    state: RequestState,
    *,
    may_wait: bool,
    ended: tuple[Request, ...] = (),
) -> bool:
    """Book a request, and what the booked parts that lead to it have to mend. False: payers are asked first.

    `state` is that of the part which runs, and of those which are `ended`.
    """
    request.fill_earlier()
    for part in request.chain:
        if part.is_open or part.has_news:
            if not fund_excess(node, service, part, may_wait=may_wait):
                return False
            book_part(node, service, part, state if part.is_open or part in ended else part.state)
    return True


def fund_excess(node: Node, service: ServiceState, request: Request, *, may_wait: bool) -> bool:
    """Find payers for tokens beyond what is held. False: the control service has to be asked first."""
    counts, held = request.counts, request.held
    if counts.input_class <= held.input_tokens and counts.output_class <= held.output_ceiling_tokens:
        return True
    offers, tokens_max = node.means(service)
    extension = extend(held, counts.input_class, counts.output_class, offers, request.price, tokens_max=tokens_max)
    if extension.want is not None and may_wait:
        node.request_units(service, extension.want)
        return False
    missing = counts.input_class - held.input_tokens, counts.output_class - held.output_ceiling_tokens
    if tokens_max is not None and sum(max(0, tokens) for tokens in missing) > tokens_max and may_wait:
        # Without control no more may be used of what is there; should it be back in time, it finds payers.
        return False
    if request.authorised and request.booked_us is None:
        # Output above its ceiling is overrun, even where a payer is found for it in the end.
        request.granted_output_tokens = held.output_ceiling_tokens
    node.hold(service, request, extension.held)
    return True


def _answer(
    node: Node,
    service: ServiceState,
    request: Request,
    report: Report,
    *,
    reporter: Reporter,
    sequence: int,
    pending: PendingCommits,
    key_problem: KeyProblem | None = None,
) -> Decision | None:
    """The receipt, once it is committed, if it was asked for; and to a server that did not ask, whether to go on.

    Of a deleted service nothing goes on, and nobody is there who could do anything about it: the receipt says who paid.
    """
    config = service.config
    assert config is not None
    # That there is no such service is no answer to what was recorded for one.
    is_deleted = config.status is Status.DELETED
    refusal = None if request.authorised or is_deleted else config.refusal()
    pending.expect()
    node.buffer.when_durable(request, pending.done)
    decision: Decision | None = None
    if key_problem is not None and not (request.authorised or is_deleted):
        decision = refused(report, key_problem, config.version)
    elif refusal is not None:
        decision = deny(request.request_id, refusal, config_version=config.version)
    if not report.want_receipt:
        return decision
    told = decision or Decision(request.request_id, config_version=config.version)
    told = told._replace(receipt=request.receipt)
    node.buffer.when_durable(request, lambda: reporter.receipt(sequence, told))
    return None
