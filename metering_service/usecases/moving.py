"""Requests that come from another node, or from an earlier epoch: which part a report goes on from."""

from collections.abc import Sequence

from metering_service.domain.lineage import Origin, last_part, origin_of
from metering_service.domain.records import RequestRecord, SettlementState
from metering_service.domain.report import Phase, Report
from metering_service.domain.request import Request, revive
from metering_service.domain.resume import ResumeToken
from metering_service.usecases.node import Node
from metering_service.usecases.service_state import ServiceState
from metering_service.usecases.waiting import Waiter


def is_elsewhere(waiter: Waiter, request: Request | None) -> bool:
    """Whether only the database can say what a report is about.

    Counts that come out of nowhere may be of a request that was booked and forgotten here, or that runs elsewhere. A
    token of another part than the one that is known here says that the request went on elsewhere meanwhile; and so may
    counts beyond what a token covers.
    """
    if request is None:
        return bool(waiter.report.resume) or waiter.report.phase is not Phase.AUTHORIZE
    if not request.is_open and waiter.report.counts.total > request.tally.counts.total:
        # It is about to be revised, and another node may have revised it before.
        return True
    token = waiter.token
    if token is None:
        return False
    return token.part not in (request.part, request.predecessor_part) or _is_beyond(waiter.report, token.origin)


def awaits_end(service: ServiceState, waiter: Waiter, parts: Sequence[RequestRecord]) -> bool:
    """Whether a finish has to wait until the part that it goes on from is settled.

    Its server went beyond that part's grant. Whoever runs that part may have heard of it, too, and books it then: only
    once that is on record is it known what is left to book here.
    """
    report, token = waiter.report, waiter.token
    last = last_part(parts, _first_part(service, waiter))
    if report.phase is not Phase.FINISH or last is None or last.state is not SettlementState.OPEN:
        return False
    here = service.open.get(report.request_id)
    return (here is None or here.part != last.part) and _is_beyond(report, _end_of(last, token))


def note_origin(node: Node, service: ServiceState, waiter: Waiter, parts: Sequence[RequestRecord]) -> bool:
    """Put the part that a report goes on from on record, where its node was lost before it could; False if it is there.

    Before that nothing may go on from it: should this node be lost, too, nobody else knows what that part has to book.
    """
    token, here = waiter.token, service.open.get(waiter.report.request_id)
    if token is None or last_part(parts, token.part) is not None or (here is not None and here.part == token.part):
        return False
    request_id = waiter.report.request_id
    node.books.note(token.record(service.name, service.uid, request_id))
    node.books.when_committed(lambda: node.errands.look_up(service, request_id))
    return True


def settle_claim(node: Node, service: ServiceState, request_id: str, parts: Sequence[RequestRecord]) -> bool:
    """Whether it is known who books a finish without authorisation. False: another node is about to, so look again."""
    claim = next((part for part in parts if part.part == ""), None)
    here = service.open.get(request_id)
    mine = claim is not None and (claim.node, claim.epoch) == (node.name, node.epoch)
    if here is not None and not here.claimed:
        if claim is None:
            return False  # This look began before the claim was written.
        here.claimed = mine
        if not mine:
            del service.open[request_id]
    return mine or claim is None or claim.state is not SettlementState.OPEN


def trace(node: Node, service: ServiceState, waiter: Waiter, parts: Sequence[RequestRecord]) -> None:
    """The database has answered: find the part that the report goes on from, or bring back the one that it repeats."""
    request_id, token = waiter.report.request_id, waiter.token
    here = service.open.get(request_id) or service.finished.get(request_id)
    last = last_part(parts, _first_part(service, waiter))
    if last is not None:
        last = _booker(parts, last, waiter.report)
    if here is not None:
        if last is not None and last.part == here.part and last.receipt.revision > here.receipt.revision:
            service.finished[request_id] = revive(last, node.clock.monotonic_ns())
            return
        before = next((part for part in parts if part.part == here.predecessor_part), None)
        if before is not None and before.state is SettlementState.FINISHED and here.is_open:
            # Its server finished it there, without having heard of what goes on here.
            node.set_aside(service, here)
            _remember(node, service, before)
            return
        if not is_elsewhere(waiter, here) or (last is not None and last.part in (here.part, here.predecessor_part)):
            return
        node.set_aside(service, here)
    if last is None:
        return
    if last.state is SettlementState.OPEN:
        waiter.origin = _end_of(last, token)
    else:
        _remember(node, service, last)


def _first_part(service: ServiceState, waiter: Waiter) -> str | None:
    """Where the line of parts begins that a report speaks of: with its token's, or with the one that is settled here.

    None where neither is known. Then it is the line that was begun last, of several where an id was reused.
    """
    if waiter.token is not None:
        return waiter.token.part
    here = service.finished.get(waiter.report.request_id)
    return here.part if here is not None else None


def _booker(parts: Sequence[RequestRecord], last: RequestRecord, report: Report) -> RequestRecord:
    """Of a line of settled parts the one that books what a report says: the last that it reaches into.

    Those after it were begun beyond these counts, and would book nothing of them.
    """
    counts = report.counts
    while counts.input_class <= last.base_input_tokens and counts.output_class <= last.base_output_tokens:
        before = next((part for part in parts if part.part == last.predecessor_part), None)
        if before is None or SettlementState.OPEN in (last.state, before.state):
            break
        last = before
    return last


def _remember(node: Node, service: ServiceState, record: RequestRecord) -> None:
    """A request that is booked already, for repeats and revisions."""
    now_ns = node.clock.monotonic_ns()
    service.finished[record.request_id] = revive(record, now_ns)
    node.finished[(service.name, record.request_id)] = now_ns


def _end_of(last: RequestRecord, token: ResumeToken | None) -> Origin:
    """Where to go on from a part that runs: its client may not have heard of a later grant than the token's."""
    return token.origin if token is not None and token.part == last.part else origin_of(last)


def _is_beyond(report: Report, end: Origin) -> bool:
    counts = report.counts
    return counts.input_class > end.input_tokens or counts.output_class > end.output_tokens
