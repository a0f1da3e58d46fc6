"""The plain road: requests that nothing is special about, from their report to their decision in a third of the steps.

Nearly all requests are so: of a service that runs and that one pot pays for, with enough on lease, no limit and no API
key, begun and ended on one stream. What is decided, held and booked is what the long way (`process.enter`) would have;
a test holds the two together. Whatever is not so takes the long way, and nothing has been changed by then.
"""

from typing import Final

from metering_service.domain.decision import Decision
from metering_service.domain.grant import GRANT_TOKENS_MIN, output_target
from metering_service.domain.pot import HeldUnits, PotKind
from metering_service.domain.report import Report
from metering_service.domain.request import Request
from metering_service.domain.service import ServiceConfig, Status
from metering_service.domain.stamp import hour_of, shared_stamp
from metering_service.usecases.node import Node
from metering_service.usecases.reports.admission import granted
from metering_service.usecases.reports.finish import finish_alone
from metering_service.usecases.reports.handover import runs_long
from metering_service.usecases.state.service_state import PLENTY_TOKENS, ServiceState
from metering_service.usecases.state.waiter import PendingCommits, Reporter


class NotPlain:
    """In place of an answer: the long way is to be taken, and nothing has been changed."""


NOT_PLAIN: Final = NotPlain()
_RUNS: Final = (Status.RUNNING, Status.ACTIVATING)


def authorise_plainly(node: Node, report: Report, reporter: Reporter) -> Decision | NotPlain:
    """Admit a new request and grant it what it asks for."""
    if report.resume or report.whole or report.key_sha256 or report.credential:
        return NOT_PLAIN
    service = node.services.get(report.service)
    if service is None or service.config is None:
        return NOT_PLAIN
    config, request_id, now_ns = service.config, report.request_id, node.clock.monotonic_ns()
    if not _is_plain(node, config, now_ns) or request_id in service.open or request_id in service.finished:
        return NOT_PLAIN
    held = _hold_of(service, config, report)
    if held is None:
        return NOT_PLAIN
    service.last_used_ns = now_ns
    now_us = node.clock.now_us()
    request = Request(
        request_id,
        node.new_part(),
        service=config.name,
        service_uid=config.uid,
        price=config.price,
        debt_allowed=config.debt_allowed,
        start_us=now_us,
        stamp=shared_stamp("", "", config.team, hour_of(now_us)),
    )
    request.max_output_tokens = report.max_output_tokens
    request.labels = report.labels
    request.authorised = True
    node.hold(service, request, held)
    ceiling_tokens, limit = held.output_ceiling_tokens, report.max_output_tokens
    request.is_final = (limit is not None and ceiling_tokens >= limit) or ceiling_tokens < GRANT_TOKENS_MIN
    service.open[request_id] = request
    node.checkpoints.begin(request)
    request.expect_input(report.counts)
    node.work.query_reuse(service, request)
    if reporter.keeps_open:
        request.session = reporter
    else:
        node.fall_silent(service, request)
    return granted(node, service, config, request)


def _is_plain(node: Node, config: ServiceConfig, now_ns: int) -> bool:
    """Whether new requests of a service may begin, and nothing but one payer has a say in how far they go."""
    if config.status not in _RUNS or config.requires_key or config.outage_tokens_max:
        return False
    if now_ns >= node.leases_valid_until_ns or node.buffer.overfull:
        return False
    return not node.limits or node.limits.applying(config, "", "", now_ns).is_nothing


def _hold_of(service: ServiceState, config: ServiceConfig, report: Report) -> HeldUnits | None:
    """What is held for a new request where one payer has enough for all of it; None where it takes more to tell."""
    price, counts = config.price, report.counts
    input_tokens = counts.input + counts.cached_input + counts.cache_write
    if config.reservation_pays or config.trial_pays == config.postpaid_pays:
        return None
    kind = PotKind.TRIAL if config.trial_pays else PotKind.MONEY
    lease = service.leases.get(kind)
    if lease is None:
        return None
    units = lease.at_hand_units
    if kind is PotKind.TRIAL:
        free_tokens = units
    elif price.is_absent:
        return None
    else:
        dearest_nanos = price.dearest_output
        free_tokens = units * 1_000_000 // dearest_nanos if dearest_nanos else PLENTY_TOKENS
    output_tokens = output_target(0, free_tokens, report.max_output_tokens, ceiling_tokens=0)
    tokens = input_tokens + output_tokens
    if kind is PotKind.TRIAL:
        return HeldUnits(input_tokens, output_tokens, 0, 0, tokens, 0, 0) if tokens <= units else None
    nanos = price.hold_nanos(input_tokens, output_tokens)
    return HeldUnits(input_tokens, output_tokens, 0, 0, 0, tokens, nanos) if nanos <= units else None


def finish_plainly(
    node: Node, report: Report, reporter: Reporter, sequence: int, pending: PendingCommits
) -> Decision | NotPlain | None:
    """Book a request that was authorised here and stayed within its grant."""
    service = node.services.get(report.service)
    request = service.open.get(report.request_id) if service is not None else None
    if report.resume or service is None or request is None or not (request.authorised and service.uid):
        return NOT_PLAIN
    if request.predecessor_part is not None or request.earlier or runs_long(node, request):
        return NOT_PLAIN
    before, held = request.tally, request.held
    tally = before.merge(report.tally)
    counts = tally.counts
    if (
        counts.input + counts.cached_input + counts.cache_write > held.input_tokens
        or counts.output + counts.reasoning > held.output_ceiling_tokens
    ):
        return NOT_PLAIN
    service.last_used_ns = node.clock.monotonic_ns()
    request.tally = tally
    if reporter.keeps_open:
        request.session = reporter
    pending.expect()
    if tally != before:
        node.checkpoints.add(request, pending.done)
    else:
        node.buffer.when_counts_durable(request, pending.done)
    return finish_alone(node, service, request, report, reporter=reporter, sequence=sequence, pending=pending)
