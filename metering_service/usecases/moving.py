"""Requests that come from another node, or from an earlier epoch: which part a report goes on from."""

from collections.abc import Sequence

from metering_service.domain.lineage import last_part, origin_of
from metering_service.domain.records import RequestRecord, SettlementState
from metering_service.domain.report import Phase
from metering_service.domain.request import Request, revive
from metering_service.usecases.node import Node
from metering_service.usecases.service_state import ServiceState
from metering_service.usecases.waiting import Waiter


def is_elsewhere(waiter: Waiter, request: Request | None) -> bool:
    """Whether only the database can say what a report is about.

    Counts that come out of nowhere may be of a request that was booked and forgotten here, or that runs elsewhere. A
    token of another part than the one that is known here says that the request went on elsewhere meanwhile.
    """
    if request is None:
        return bool(waiter.report.resume) or waiter.report.phase is not Phase.AUTHORIZE
    if not request.is_open and waiter.report.counts.total > request.tally.counts.total:
        # It is about to be revised, and another node may have revised it before.
        return True
    return waiter.token is not None and waiter.token.part not in (request.part, request.predecessor_part)


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
    last = last_part(parts, token.part if token is not None else None)
    if here is not None:
        if last is not None and last.part == here.part and last.receipt.revision > here.receipt.revision:
            service.finished[request_id] = revive(last, node.clock.monotonic_ns())
            return
        if not is_elsewhere(waiter, here) or (last is not None and last.part in (here.part, here.predecessor_part)):
            return
        node.set_aside(service, here)
    if last is None:
        if token is not None:
            # Its node was lost before it could write: leave what it has to settle, should it come back.
            node.books.note(token.record(service.name, service.uid, request_id))
            waiter.origin = token.origin
    elif last.state is SettlementState.HANDED_OVER:
        waiter.origin = origin_of(last)
    elif last.state is SettlementState.OPEN:
        # The client may not have heard of a later grant.
        waiter.origin = token.origin if token is not None and token.part == last.part else origin_of(last)
    else:
        service.finished[request_id] = revive(last, node.clock.monotonic_ns())
        node.finished[(service.name, request_id)] = node.clock.monotonic_ns()
