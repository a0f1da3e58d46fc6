"""Admission of a request: whether it may run, and how far; authorisation and the renewal of grants."""

from metering_service.domain.decision import Decision, Grant, Reason, deny
from metering_service.domain.grant import GRANT_TOKENS_MIN
from metering_service.domain.pot import HeldUnits
from metering_service.domain.report import Report
from metering_service.domain.request import Request
from metering_service.domain.request_parts import PartStart
from metering_service.domain.service import ServiceConfig
from metering_service.domain.stamp import Stamp, hour_of, shared_stamp
from metering_service.domain.whole_answer import only_reserved, size_of
from metering_service.usecases.node import Node
from metering_service.usecases.reports.cover import Covered, ask, cover, is_as_rules_aim
from metering_service.usecases.reports.cutting import cut, end_at_ceiling, let_go_on
from metering_service.usecases.reports.denial import refuse
from metering_service.usecases.reports.rules import ask_rules, least_grant, pass_rules, rules_of
from metering_service.usecases.reports.whole_answers import cover_whole
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import PARKED, Outcome
from tallygate._server.clock import NS_PER_US


def stamp_now(node: Node, service: ServiceState, report: Report) -> Stamp:
    """What a report's request is stamped with if it is authorised now, or its denial is."""
    hour_us, config = hour_of(node.clock.now_us()), service.config
    if not node.limits or config is None:
        return shared_stamp(report.credential, report.key_team, service.team, hour_us)
    applies = node.limits.applying(config, report.credential, report.key_team, node.clock.monotonic_ns())
    return shared_stamp(report.credential, report.key_team, service.team, applies.hour_at(hour_us), applies.pots)


def new_request(node: Node, service: ServiceState, report: Report, start: PartStart | None, *, part: str) -> Request:
    """A request as its first report describes it, with nothing held yet. It may go on from a part of another node."""
    config = service.config
    assert config is not None
    request = Request(
        report.request_id,
        part,
        service=config.name,
        service_uid=config.uid,
        price=config.price,
        debt_allowed=config.debt_allowed,
        start_us=node.clock.now_us(),
        stamp=stamp_now(node, service, report),
    )
    request.max_output_tokens = report.max_output_tokens
    request.labels = report.labels
    if start is not None:
        request.start_at(start)
    request.rules = rules_of(node, service, request)
    return request


def name_part(node: Node, start: PartStart | None) -> str:
    """A name for a new part, other than that of the one it goes on from.

    After the database was put back to an older copy an epoch's number may be one that there was before.
    """
    part = node.new_part()
    return node.new_part() if start is not None and start.part == part else part


def authorise(
    node: Node, service: ServiceState, config: ServiceConfig, report: Report, start: PartStart | None
) -> Request | Outcome:
    """Admit a request that is not known: the Request if it may run, else why not. A denial leaves all pots alone."""
    refusal = config.refusal()
    if refusal is not None:
        return deny(report.request_id, refusal, config_version=config.version)
    if node.buffer.overfull:
        return deny(report.request_id, Reason.STORAGE_UNAVAILABLE, config_version=config.version)
    if not node.leases_valid and not node.goes_on(service):
        node.work.exchange()
        return PARKED
    request = new_request(node, service, report, start, part=name_part(node, start))
    request.authorised = True
    begin = _begin_whole if report.whole else _begin
    return begin(node, service, request, report)


def _begin(node: Node, service: ServiceState, request: Request, report: Report) -> Request | Outcome:
    """Admit a request that can be stopped at any time: with a grant that is large enough to start with."""
    config = service.config
    assert config is not None
    input_tokens = max(0, report.counts.input_class - request.base_input_tokens)
    covered = cover(node, service, request, input_tokens)
    ceiling = covered.held.output_ceiling_tokens
    # A request that goes on may live on what the part before granted.
    least = 0 if report.max_output_tokens == 0 or request.base_output_tokens else 1
    if only_reserved(config):
        # A rate has more in a moment: an answer that ends before it is of use is worse than one that comes later.
        least = max(least, _worth_starting(config, request, report.min_output_tokens or 0))
    if covered.may_have_more:
        if covered.held.input_tokens < input_tokens or ceiling < _worth_starting(config, request):
            ask(node, service, request, input_tokens, covered)
            ask_rules(node, service, request, input_tokens, _worth_starting(config, request))
            return PARKED
    elif covered.held.input_tokens < input_tokens or ceiling < least:
        return refuse(node, service, request, input_tokens, least) if node.leases_valid else PARKED
    held = pass_rules(node, service, request, covered.held, least_grant(request, _worth_starting(config, request)))
    if not isinstance(held, HeldUnits):
        return held
    node.hold(service, request, held)
    _mark_last(node, service, request, covered)
    _open(node, service, request, report)
    return request


def _begin_whole(node: Node, service: ServiceState, request: Request, report: Report) -> Request | Outcome:
    """Admit a request whose answer comes as a whole: with its first grant it is at its own limit."""
    config = service.config
    assert config is not None
    held = cover_whole(node, service, request, report)
    if isinstance(held, HeldUnits):
        held = pass_rules(node, service, request, held, held.output_ceiling_tokens)
    if not isinstance(held, HeldUnits):
        return held
    node.hold(service, request, held)
    if request.predecessor_part is None and held.output_ceiling_tokens < size_of(report, config).output_tokens:
        end_at_ceiling(node, service, request)
    request.max_output_tokens = request.ceiling_tokens
    request.is_final = True
    if report.hold_for_ns is not None:
        request.hold_for_us = -(-report.hold_for_ns // NS_PER_US)
        request.hold_until_ns = node.clock.monotonic_ns() + report.hold_for_ns
    _open(node, service, request, report)
    return request


def _open(node: Node, service: ServiceState, request: Request, report: Report) -> None:
    """A request is admitted: from now on it runs."""
    service.open[report.request_id] = request
    if request.stamp.pots:
        service.reserve_pots(request)
    node.checkpoints.begin(request)
    request.expect_input(report.counts)


def renew(node: Node, service: ServiceState, config: ServiceConfig, request: Request) -> Outcome:
    """Raise the ceiling of a request that is past half of it, or mark it final, or deny."""
    before = request.ceiling_tokens
    input_tokens = max(request.held.input_tokens, request.counts.input_class)
    capped = request.max_output_tokens is not None and before >= request.max_output_tokens
    if not capped or input_tokens > request.held.input_tokens:
        covered = cover(node, service, request, input_tokens)
        node.hold(service, request, covered.held)
        # A ceiling below what was generated says stop, so while more may be had it is not told.
        has_room = not covered.may_have_more or request.output_tokens < request.ceiling_tokens
        if has_room and request.ceiling_tokens > before:
            request.authorised = True
            let_go_on(node, request)
            _mark_last(node, service, request, covered)
            return granted(node, service, config, request)
        if is_as_rules_aim(node, request) or node.goes_on(service):
            # What it has is good for a little longer; what more there is, only control can say.
            return confirmed(node, service, config, request) if request.output_tokens < before or capped else PARKED
        if covered.may_have_more:
            ask(node, service, request, input_tokens, covered)
            return PARKED
    if request.output_tokens < before or capped:
        if request.is_final:
            return confirmed(node, service, config, request)
        request.is_final = True
        if not _is_at_own_limit(request):
            end_at_ceiling(node, service, request)
        return granted(node, service, config, request)
    least = request.output_tokens + 1 - request.base_output_tokens
    return cut(node, request, refuse(node, service, request, input_tokens, least))


def granted(node: Node, service: ServiceState, config: ServiceConfig, request: Request) -> Decision:
    """ALLOW, with the grant as it stands."""
    valid_for_ms = node.grant_valid_for_ms(service)
    content = request.resume_content(node.name, node.epoch)
    resume = node.key_ring.sign(request.service_uid, request.request_id, content)
    grant = Grant(request.ceiling_tokens, valid_for_ms, request.is_final, resume)
    # Not by name, which takes longer; there is one for each authorisation.
    return Decision(request.request_id, None, "", False, None, None, None, grant, config.version)


def confirmed(node: Node, service: ServiceState, config: ServiceConfig, request: Request) -> Decision | None:
    """A grant that does not change: its stream renews it, and where the node is cut off, saying it again does."""
    return granted(node, service, config, request) if node.goes_on(service) else None


def _worth_starting(config: ServiceConfig, request: Request, min_output_tokens: int = 0) -> int:
    """The least ceiling to start with while more may be had: below it, waiting for a lease is better."""
    least = max(0, max(config.smallest_request_tokens, min_output_tokens) - request.base_output_tokens)
    return least if request.max_output_tokens is None else min(least, request.max_output_tokens)


def _mark_last(node: Node, service: ServiceState, request: Request, covered: Covered) -> None:
    """Mark a grant that nothing can be expected beyond: the server's own limit, or pots that have run dry."""
    request.is_final = not covered.may_have_more and _is_at_own_limit(request)
    is_near_ceiling = request.ceiling_tokens - request.output_tokens < GRANT_TOKENS_MIN
    if not (request.is_final or covered.may_have_more) and node.leases_valid and is_near_ceiling:
        request.is_final = True
        end_at_ceiling(node, service, request)


def _is_at_own_limit(request: Request) -> bool:
    return request.max_output_tokens is not None and request.ceiling_tokens >= request.max_output_tokens
