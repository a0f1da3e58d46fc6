"""The end of a request: finished by its server, or timed out."""

from collections.abc import Sequence
from functools import partial

from metering_service.domain.booking import book
from metering_service.domain.decision import Decision, deny
from metering_service.domain.funding import extend
from metering_service.domain.outage import tokens_of
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.report import Phase
from metering_service.domain.request import EVERY_REPORT, Request
from metering_service.domain.request_parts import booked_end, final_tally, later_parts
from metering_service.domain.service import Status
from metering_service.usecases.node import Node
from metering_service.usecases.reports.handover import booked_before, booked_chain, parts_in_memory
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import PARKED, Outcome, Waiter


def finish(node: Node, service: ServiceState, request: Request, waiter: Waiter) -> Outcome:
    """Book a finished request; or, where it is booked already, counts that came late.

    Those are booked by all the parts that lead to it, each up to where the next one begins. Its receipt is that of the
    last part that the report reaches into.
    """
    reached = request.reached_by(waiter.report.counts)
    ended = (reached, request) if waiter.report.phase is Phase.FINISH else ()
    may_wait = node.clock.monotonic_ns() < waiter.deadline_ns
    if not _book_chain(node, service, request, RequestState.FINISHED, ended=ended, may_wait=may_wait):
        return PARKED
    for part in request.chain:
        if part is not reached:
            waiter.pending.expect()
            node.buffer.when_durable(part, waiter.pending.done)
    return _answer(node, service, reached, waiter)


def book_part(node: Node, service: ServiceState, request: Request, state: RequestState) -> None:
    """Book, and keep the request in memory for repeats, unless a later part of it has taken its place there."""
    if request.is_open:
        node.silent.pop(request, None)  # One that timed out is still to be looked at again.
    request.state = state
    request.quiet_tokens = EVERY_REPORT
    booking = book(request, node.clock.now_us())
    service.take(booking)
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


def end_now(node: Node, service: ServiceState, request: Request) -> None:
    """Book a request at its last counts now, with the payers at hand; larger counts may yet come."""
    _fund_excess(node, service, request, may_wait=False)
    book_part(node, service, request, RequestState.TIMED_OUT)
    _recheck_later(node, service, request)


def time_out(node: Node, service: ServiceState, request: Request, parts: Sequence[RequestRecord]) -> None:
    """Book a request that nobody spoke of within the resume window, at its last counts.

    Where another node went on with it, this one books up to what it had granted, as far as the other one got. While
    the other one is still at it, this waits another window.
    """
    if not _is_overdue(node, request):
        return
    if not request.is_open:
        _recheck(node, service, request, parts)
        return
    is_held = node.clock.monotonic_ns() < request.hold_until_ns and not later_parts(parts, request.part)
    if is_held or not _learn_end(request, parts):
        node.fall_silent(service, request)
        return
    request.earlier = booked_before(service, request, parts)
    if _book_chain(node, service, request, RequestState.TIMED_OUT, may_wait=_may_wait(node, request)):
        _recheck_later(node, service, request)
    else:
        _wait_for_payers(node, request)


def check_silent(node: Node) -> None:
    """Find requests that nobody spoke of within the resume window, and book them once it is known who went on.

    A window later they are looked at once more. Those that stay open for a time of their own are looked for by the
    window too, as others may have finished them; and when that time is over.
    """
    _check_held(node)
    before_ns = node.clock.monotonic_ns() - node.settings.resume_window_ns
    for request, silence in node.silent.items():
        if silence.since_ns > before_ns:
            return
        node.work.query_successor(silence.service, request)


def _check_held(node: Node) -> None:
    now_ns = node.clock.monotonic_ns()
    for request in list(node.holds):
        silence = node.silent.get(request)
        if silence is None or not request.is_open:
            del node.holds[request]
        elif request.hold_until_ns <= now_ns:
            del node.holds[request]
            node.work.query_successor(silence.service, request)


def forget_finished(node: Node) -> None:
    """Forget finished requests that are old or too many: from then on the database is asked for them."""
    before_ns = node.clock.monotonic_ns() - node.settings.finished_kept_ns
    while node.finished:
        (name, request_id), at_ns = next(iter(node.finished.items()))
        if at_ns > before_ns and len(node.finished) <= node.settings.finished_kept_max:
            return
        del node.finished[(name, request_id)]
        node.services[name].finished.pop(request_id, None)


def _book_chain(
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
            if not _fund_excess(node, service, part, may_wait=may_wait):
                return False
            book_part(node, service, part, state if part.is_open or part in ended else part.state)
    return True


def _learn_end(request: Request, parts: Sequence[RequestRecord]) -> bool:
    """Take in how far a request got whose finish this node did not hear; False while that is not known."""
    tally = final_tally(request.tally, request.part, parts)
    if tally is None:
        return False
    request.tally = tally
    return True


def _recheck_later(node: Node, service: ServiceState, request: Request) -> None:
    """Have a part rechecked a window after it is on record, if need be by the node that settles for this one."""
    node.buffer.add_recheck(request.key)
    node.buffer.when_durable(request, partial(node.fall_silent, service, request))


def _recheck(node: Node, service: ServiceState, request: Request, parts: Sequence[RequestRecord]) -> None:
    """A part timed out: another node may have gone on with it at that moment, and neither saw what the other wrote.

    Both records are in the database by now. Where the other part has ended, and did not fill this one, that is done
    here; one that runs will see this one when it ends.
    """
    if node.services.get(service.name) is not service:
        del node.silent[request]  # The service was forgotten: this node's next epoch rechecks.
        return
    if request.request_id in service.open:
        node.fall_silent(service, request)
        return
    last = booked_end(parts, request.part)
    if last is not None:
        whole = booked_chain(last, parts, parts_in_memory(service, request.request_id))
        if not _book_chain(node, service, whole, RequestState.TIMED_OUT, may_wait=_may_wait(node, request)):
            _wait_for_payers(node, request)
            return
    node.silent.pop(request, None)
    node.unpaid.pop(request, None)
    node.buffer.end_recheck(node.epoch, request.key)


def _may_wait(node: Node, request: Request) -> bool:
    """Whether payers may be asked before a silent request is booked: while control answers, and not for ever."""
    since_ns = node.unpaid.get(request)
    has_time = since_ns is None or node.clock.monotonic_ns() - since_ns < node.settings.booking_wait_max_ns
    return node.control_answers and has_time


def _wait_for_payers(node: Node, request: Request) -> None:
    """It is looked at again when control has answered."""
    node.unpaid.setdefault(request, node.clock.monotonic_ns())


def _is_overdue(node: Node, request: Request) -> bool:
    """Whether nobody spoke of a request for long enough: the resume window, or, if that is sooner, its own time."""
    silence, now_ns = node.silent.get(request), node.clock.monotonic_ns()
    if silence is None:
        return False
    if request.is_open and silence.since_ns < request.hold_until_ns <= now_ns:
        return True
    return silence.since_ns <= now_ns - node.settings.resume_window_ns


def _fund_excess(node: Node, service: ServiceState, request: Request, *, may_wait: bool) -> bool:
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


def _answer(node: Node, service: ServiceState, request: Request, waiter: Waiter) -> Decision | None:
    """The receipt, once it is committed, if it was asked for; and to a server that did not ask, whether to go on.

    Of a deleted service nothing goes on, and nobody is there who could do anything about it: the receipt says who paid.
    """
    config = service.config
    assert config is not None
    # That there is no such service is no answer to what was recorded for one.
    is_deleted = config.status is Status.DELETED
    refusal = None if request.authorised or is_deleted else config.refusal()
    pending, report = waiter.pending, waiter.report
    pending.expect()
    node.buffer.when_durable(request, pending.done)
    decision: Decision | None = None
    if refusal is not None:
        decision = deny(request.request_id, refusal, config_version=config.version)
    if not report.want_receipt:
        return decision
    reporter, sequence = waiter.reporter, waiter.sequence
    told = decision or Decision(request.request_id, config_version=config.version)
    told = told._replace(receipt=request.receipt)
    node.buffer.when_durable(request, lambda: reporter.receipt(sequence, told))
    return None
