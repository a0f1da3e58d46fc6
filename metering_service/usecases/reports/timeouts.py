"""Time-outs: silent requests are booked at their last counts, and rechecked a window later."""

from collections.abc import Sequence
from functools import partial

from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.request import Request
from metering_service.domain.request_parts import booked_end, final_tally, later_parts
from metering_service.usecases.node import Node
from metering_service.usecases.reports.finish import book_chain, book_part, fund_excess
from metering_service.usecases.reports.handover import booked_before, booked_chain, parts_in_memory
from metering_service.usecases.state.service_state import ServiceState


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
    goes_on_elsewhere = bool(later_parts(parts, request.part))
    if goes_on_elsewhere and request.rules is not None:
        request.rules.pass_on_slots()
    is_held = node.clock.monotonic_ns() < request.hold_until_ns and not goes_on_elsewhere
    if is_held or not _learn_end(request, parts):
        node.fall_silent(service, request)
        return
    request.earlier = booked_before(service, request, parts)
    if book_chain(node, service, request, RequestState.TIMED_OUT, may_wait=_may_wait(node, request)):
        _recheck_later(node, service, request)
    else:
        _wait_for_payers(node, request)


def end_now(node: Node, service: ServiceState, request: Request) -> None:
    """Book a request at its last counts now, with the payers at hand; larger counts may yet come."""
    fund_excess(node, service, request, may_wait=False)
    book_part(node, service, request, RequestState.TIMED_OUT)
    _recheck_later(node, service, request)


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
        if not book_chain(node, service, whole, RequestState.TIMED_OUT, may_wait=_may_wait(node, request)):
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
