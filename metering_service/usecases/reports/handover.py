"""Requests that come from another node or an earlier epoch: the part that a report goes on from."""

from collections.abc import Mapping, Sequence

from metering_service.domain.counts import NOTHING, Tally
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.report import Phase, Report
from metering_service.domain.request import Earlier, Request
from metering_service.domain.request_parts import (
    PartStart,
    booked_end,
    earlier_parts,
    end_of,
    final_tally,
    last_part,
    said_exactly,
    start_after,
)
from metering_service.domain.resume_token import ResumeToken
from metering_service.domain.revival import revive
from metering_service.usecases.node import Node
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import Waiter
from tallygate._server.clock import NS_PER_US


def is_elsewhere(waiter: Waiter, request: Request | None) -> bool:
    """Whether only the database can say what a report is about.

    Counts that come out of nowhere may be of a request that was booked and forgotten here, or that runs elsewhere. A
    token of another part than the one that is known here says that the request went on elsewhere; and so may
    counts beyond what a token covers. So may a token whose key this node does not know yet.
    """
    if not waiter.is_verified:
        return True
    if request is None:
        return bool(waiter.report.resume) or waiter.report.phase is not Phase.AUTHORIZE
    if not request.is_open and request.tally.learns_from(waiter.report.tally):
        # It is about to be revised, and another node may have revised it before.
        return True
    token = waiter.token
    if token is None:
        return False
    return token.part not in (request.part, request.predecessor_part) or _is_beyond(waiter.report, token.start)


def verify(node: Node, service: ServiceState, waiter: Waiter) -> None:
    """Read the token of a report about a service that is known. What does not verify counts as none."""
    report = waiter.report
    waiter.token = node.key_ring.read(service.uid, report.request_id, report.resume)
    waiter.is_verified = waiter.token is not None or not node.key_ring.lacks(report.resume)


def ends_chain(node: Node, waiter: Waiter, request: Request | None) -> bool:
    """Whether a report ends a request of which others may have booked something.

    If it came from elsewhere, parts before may have timed out too soon. If it has run for as long as a
    finish waits elsewhere for the end of this part, that may have been booked by itself.
    """
    if request is None or not request.is_open or waiter.report.phase is not Phase.FINISH:
        return False
    return request.predecessor_part is not None or runs_long(node, request)


def runs_long(node: Node, request: Request) -> bool:
    """Whether a request has run for as long as a finish waits elsewhere; the slack is for clocks that run apart."""
    return node.clock.now_us() - request.start_us >= longest_us(node)


def longest_us(node: Node) -> int:
    """How long a request has run when its finish no longer waits elsewhere."""
    return (node.settings.predecessor_wait_max_ns - node.settings.predecessor_slack_ns) // NS_PER_US


def awaits_end(service: ServiceState, waiter: Waiter, parts: Sequence[RequestRecord]) -> bool:
    """Whether what a report says has to wait until the parts that it goes on from, or revises, are booked.

    A finish above a grant: the node that gave it may have heard of it, too, and books it then; only once that is on
    record is it known what is left to book here. Counts that revise a booked part: an earlier one that runs may have
    looked into the database already, and not know of them when it ends.
    """
    report, token = waiter.report, waiter.token
    last = last_part(parts, _first_part(service, waiter))
    if last is None or report.phase is Phase.AUTHORIZE:
        return False
    here = service.open.get(report.request_id)
    if here is not None and last.part in (here.part, here.predecessor_part):
        return False
    if last.state is RequestState.OPEN:
        return report.phase is Phase.FINISH and _is_beyond(report, _end_of(last, token))
    mine = here.part if here is not None else None
    grows = report.counts.total > last.counts.total and last.tally.learns_from(report.tally)
    return grows and any(_is_unfilled(part, parts) for part in earlier_parts(parts, last) if part.part != mine)


def expect_open(node: Node, service: ServiceState, waiter: Waiter, parts: Sequence[RequestRecord]) -> None:
    """A report does not wait for the end of a part any longer: if that was booked just now, go by that instead."""
    last = last_part(parts, _first_part(service, waiter))
    if last is not None and last.state is RequestState.OPEN:
        node.buffer.expect_revision(last.key, last.receipt.revision)


def note_start(node: Node, service: ServiceState, waiter: Waiter, parts: Sequence[RequestRecord]) -> bool:
    """Put the part that a report goes on from on record, where its node was lost before it could; False if it is there.

    Before that nothing may go on from it: should this node be lost, too, nobody else knows what that part has to book.
    """
    token, here = waiter.token, service.open.get(waiter.report.request_id)
    if token is None or last_part(parts, token.part) is not None or (here is not None and here.part == token.part):
        return False
    request_id = waiter.report.request_id
    node.buffer.note(token.record(service.name, service.uid, request_id))
    node.buffer.when_committed(lambda: node.work.query_request(service, request_id))
    return True


def find_owner(node: Node, service: ServiceState, request_id: str, parts: Sequence[RequestRecord]) -> bool:
    """Whether it is known who books a finish without authorisation. False: another node is about to, so look again."""
    entered = next((part for part in parts if part.part == ""), None)
    here = service.open.get(request_id)
    mine = entered is not None and (entered.node, entered.epoch) == (node.name, node.epoch)
    if here is not None and not here.is_owned:
        if entered is None:
            return False  # The query began before the finish was entered.
        here.is_owned = mine
        if not mine:
            del service.open[request_id]
            here.run_no_more()
    return mine or entered is None or entered.state is not RequestState.OPEN


def trace(node: Node, service: ServiceState, waiter: Waiter, parts: Sequence[RequestRecord]) -> None:
    """The database has answered: find the part that the report goes on from, or bring back the one that it repeats."""
    request_id, token = waiter.report.request_id, waiter.token
    here = service.open.get(request_id) or service.finished.get(request_id)
    last = last_part(parts, _first_part(service, waiter))
    waiter.exact = _exact(here if here is not None and here.is_open else None, last, parts)
    if here is not None and here.is_open:
        end = booked_end(parts, here.part)
        if end is not None and waiter.report.phase is Phase.FINISH:
            # It was ended elsewhere: this part has to book no more than what it had granted.
            node.set_aside(service, here)
            remember(node, service, end, parts)
            return
        before = next((part for part in parts if part.part == here.predecessor_part), None)
        if before is not None and before.state is RequestState.FINISHED and _took_rest(before, here, waiter.report):
            # Its server finished it there, without having heard of what goes on here.
            node.set_aside(service, here)
            remember(node, service, before, parts)
            return
        # Where nothing is on record yet, this look began before what runs here was written.
        if last is None or not is_elsewhere(waiter, here) or last.part in (here.part, here.predecessor_part):
            here.earlier = booked_before(service, here, parts)
            return
        node.set_aside(service, here)
    if last is None:
        return
    if here is not None and not here.is_open and _is_known(waiter.report, here, last, parts):
        return
    if last.state is RequestState.OPEN and (here is None or here.part != last.part):
        waiter.start = _end_of(last, token)
        waiter.earlier = _booked(earlier_parts(parts, last), parts, parts_in_memory(service, request_id))
        # It runs: what was booked here is not the last of it.
        service.finished.pop(request_id, None)
    else:
        remember(node, service, last, parts)


def _exact(here: Request | None, last: RequestRecord | None, parts: Sequence[RequestRecord]) -> Tally:
    """What was said exactly of the request that runs here, else of the one whose `last` part is on record."""
    if here is None:
        return said_exactly(last.part, parts) if last is not None else NOTHING
    # Its own part may not be on record yet.
    return said_exactly(here.predecessor_part, parts).merge(said_exactly(here.part, parts))


def _took_rest(before: RequestRecord, here: Request, report: Report) -> bool:
    """Whether a finished part has booked what lies beyond it as well, or there is no more than it has booked."""
    counts = before.counts
    beyond = counts.input_class > here.base_input_tokens or counts.output_class > here.base_output_tokens
    return beyond or report.counts.total <= counts.total


def booked_before(service: ServiceState, request: Request, parts: Sequence[RequestRecord]) -> tuple[Earlier, ...]:
    """The booked parts that lead to one that runs here, which may not be on record yet."""
    before = next((part for part in parts if part.part == request.predecessor_part), None)
    if before is None:
        return ()
    begin = request.base_input_tokens, request.base_output_tokens
    known = parts_in_memory(service, request.request_id) | {each.part.part: each.part for each in request.earlier}
    return _booked([*earlier_parts(parts, before), before], parts, known, begin)


def remember(node: Node, service: ServiceState, last: RequestRecord, parts: Sequence[RequestRecord]) -> None:
    """Keep a request that is booked already in memory, for repeats and revisions."""
    service.finished[last.request_id] = booked_chain(last, parts, parts_in_memory(service, last.request_id))
    node.finished[(service.name, last.request_id)] = node.clock.monotonic_ns()


def booked_chain(last: RequestRecord, parts: Sequence[RequestRecord], in_memory: Mapping[str, Request]) -> Request:
    """A part, with those booked ones that lead to it: as they are in memory here, or as they are on record."""
    request = _newest(last, in_memory)
    request.earlier = _booked(earlier_parts(parts, last), parts, in_memory)
    return request


def _booked(
    chain: Sequence[RequestRecord],
    parts: Sequence[RequestRecord],
    known: Mapping[str, Request],
    begin: tuple[int, int] | None = None,
) -> tuple[Earlier, ...]:
    """Those of a chain that are booked: as they are `known` here, or as they are on record.

    `begin`: where that begins which goes on from the last one of the chain, if it is not on record.
    """
    return tuple(
        Earlier(
            _taught(_newest(record, known), parts),
            *end_of(record.part, parts, begin if record is chain[-1] else None),
        )
        for record in chain
        if record.state is not RequestState.OPEN
    )


def parts_in_memory(service: ServiceState, request_id: str) -> dict[str, Request]:
    """The parts of a request that are in memory here."""
    requests = (service.finished.get(request_id), service.open.get(request_id))
    chains = (request.chain for request in requests if request is not None)
    return {part.part: part for chain in chains for part in chain}


def _taught(part: Request, parts: Sequence[RequestRecord]) -> Request:
    """A booked part with what later parts know of it: the end of the chain need not have heard of all that one did."""
    tally = final_tally(part.tally, part.part, parts)
    if tally is not None:
        part.learn(tally)
    return part


def _newest(record: RequestRecord, known: Mapping[str, Request]) -> Request:
    """What is known here may not be committed yet; and other nodes may have revised it."""
    part = known.get(record.part)
    if part is not None and part.receipt.revision >= record.receipt.revision:
        return part
    return revive(record)


def _first_part(service: ServiceState, waiter: Waiter) -> str | None:
    """Where the chain of parts begins that a report speaks of: with its token's, or with the one that is booked here.

    None where neither is known. Then it is the chain that was begun last, of several where an id was reused.
    """
    if waiter.token is not None:
        return waiter.token.part
    here = service.finished.get(waiter.report.request_id)
    return here.part if here is not None else None


def _is_known(report: Report, here: Request, last: RequestRecord, parts: Sequence[RequestRecord]) -> bool:
    """Whether the record says no more of a report than what is booked here."""
    if here.predecessor_part == last.part:
        return True  # This look began before that was written.
    repeats = report.phase is Phase.FINISH and not here.tally.learns_from(report.tally)
    return repeats and any(part.part == here.part for part in earlier_parts(parts, last))


def _is_unfilled(part: RequestRecord, parts: Sequence[RequestRecord]) -> bool:
    """Whether a part runs that has not heard yet of all that it may have to book."""
    input_tokens, output_tokens = end_of(part.part, parts)
    reached = part.counts.input_class >= input_tokens and part.counts.output_class >= output_tokens
    return part.state is RequestState.OPEN and not reached


def _end_of(last: RequestRecord, token: ResumeToken | None) -> PartStart:
    """Where to go on from a part that runs: its client may not have heard of a later grant than the token's."""
    return token.start if token is not None and token.part == last.part else start_after(last)


def _is_beyond(report: Report, end: PartStart) -> bool:
    counts = report.counts
    return counts.input_class > end.input_tokens or counts.output_class > end.output_tokens
