"""The end of a request: finished by its server, timed out, or handed over by a node that shuts down."""

from dataclasses import replace

from metering_service.domain.counts import Tally
from metering_service.domain.decision import Decision, deny
from metering_service.domain.funding import extend
from metering_service.domain.records import RequestRecord, SettlementState
from metering_service.domain.report import Phase
from metering_service.domain.request import Request
from metering_service.domain.settlement import up_to
from metering_service.usecases.node import Node
from metering_service.usecases.service_state import ServiceState
from metering_service.usecases.waiting import PARKED, Answer, Waiter


def finish(node: Node, service: ServiceState, request: Request, waiter: Waiter) -> Answer:
    """Book a finished request; or, where it is booked already, larger counts that came late."""
    if request.is_open or request.counts.total > request.receipt.usage.total:
        expired = node.clock.monotonic_ns() >= waiter.deadline_ns
        if not _fund_excess(node, service, request, may_wait=not expired):
            return PARKED
        finished = waiter.report.phase is Phase.FINISH or request.is_open
        settle(node, service, request, SettlementState.FINISHED if finished else request.state)
    return _answer(node, service, request, waiter)


def settle(node: Node, service: ServiceState, request: Request, state: SettlementState) -> None:
    """Book, and keep the request in memory for repeats."""
    request.state = state
    node.books.settle(service, request)
    key = (service.name, request.request_id)
    service.open.pop(request.request_id, None)
    node.silent.pop(key, None)
    service.finished[request.request_id] = request
    node.finished[key] = node.clock.monotonic_ns()
    node.finished.move_to_end(key)


def time_out(node: Node, service: ServiceState, request: Request, parts: list[RequestRecord]) -> None:
    """Settle a request that nobody spoke of within the resume window, at its last counts.

    Where another node went on with it, this one books up to what it had granted, as far as the other one got. While
    the other one is still at it, this waits another window.
    """
    if not request.is_open:
        return
    successors = [part for part in parts if part.predecessor_part == request.part]
    if any(part.state is SettlementState.OPEN for part in successors):
        request.last_heard_ns = node.clock.monotonic_ns()
        return
    for part in successors:
        reach_input = request.base_input_tokens + request.held.input_tokens
        reached = up_to(part.counts, reach_input, request.ceiling_tokens)
        request.tally = request.tally.merge(Tally.of(reached, finish=False))
    _fund_excess(node, service, request, may_wait=False)
    settle(node, service, request, SettlementState.TIMED_OUT)


def look_for_silent(node: Node) -> None:
    """Find requests that nobody spoke of within the resume window, and settle them once it is known who went on."""
    since_ns = node.clock.monotonic_ns() - node.settings.resume_window_ns
    for (name, _), request in list(node.silent.items()):
        if request.last_heard_ns <= since_ns:
            node.errands.look_for_successor(node.services[name], request)


def forget_finished(node: Node) -> None:
    """Forget finished requests that are old or too many: from then on the database is asked for them."""
    before_ns = node.clock.monotonic_ns() - node.settings.finished_kept_ns
    while node.finished:
        (name, request_id), at_ns = next(iter(node.finished.items()))
        if at_ns > before_ns and len(node.finished) <= node.settings.finished_kept_max:
            return
        del node.finished[(name, request_id)]
        node.services[name].finished.pop(request_id, None)


def hand_over(node: Node) -> None:
    """Book everything that runs at its last counts: this node shuts down, and others may go on."""
    for service in node.services.values():
        for request in list(service.open.values()):
            _fund_excess(node, service, request, may_wait=False)
            settle(node, service, request, SettlementState.HANDED_OVER)


def _fund_excess(node: Node, service: ServiceState, request: Request, *, may_wait: bool) -> bool:
    """Find payers for tokens beyond what is held. False: the control service has to be asked first."""
    counts, held = request.counts, request.held
    if counts.input_class <= held.input_tokens and counts.output_class <= held.output_ceiling_tokens:
        return True
    extension = extend(held, counts.input_class, counts.output_class, node.offers(service), request.price)
    if extension.want is not None and may_wait:
        node.ask_for(service, extension.want)
        return False
    if request.authorised and request.settle_us is None:
        # Output beyond its ceiling is overrun, whoever pays for it in the end.
        request.granted_output_tokens = held.output_ceiling_tokens
    node.hold(service, request, extension.held)
    return True


def _answer(node: Node, service: ServiceState, request: Request, waiter: Waiter) -> Decision | None:
    """The receipt, once it is committed, if it was asked for; and to a server that did not ask, whether to go on."""
    config = service.config
    assert config is not None
    refusal = config.refusal()
    mark, report = waiter.mark, waiter.report
    mark.expect()
    node.books.when_durable(service, request, mark.done)
    decision = Decision(request.request_id, config_version=config.version)
    if refusal is not None and not request.authorised:
        decision = deny(request.request_id, refusal, config_version=config.version)
    if report.want_receipt:
        asker, sequence = waiter.asker, waiter.sequence
        told = replace(decision, receipt=request.receipt)
        node.books.when_durable(service, request, lambda: asker.receipt(sequence, told))
        return None
    return None if decision.allowed else decision
