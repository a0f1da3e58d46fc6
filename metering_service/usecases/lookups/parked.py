"""Reports that wait are decided on again when something changed, and answered with what is known when it takes long."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from metering_service.domain.decision import Decision, Reason, deny
from metering_service.domain.records import RequestRecord
from metering_service.domain.report import Phase
from metering_service.usecases.commits.pending_commit import UnauthorisedFinish
from metering_service.usecases.lookups import service_choice
from metering_service.usecases.lookups.id_reuse import name_of
from metering_service.usecases.node import Node
from metering_service.usecases.ports import RequestName
from metering_service.usecases.reports.admission import stamp_now
from metering_service.usecases.reports.cutting import cut
from metering_service.usecases.reports.handover import (
    awaits_end,
    expect_open,
    find_owner,
    note_start,
    trace,
    verify,
)
from metering_service.usecases.reports.key_check import follow_later
from metering_service.usecases.reports.process import decide, forget_renewal, note_renewal, with_service
from metering_service.usecases.state.predecessors import QUERY_AGAIN_NS
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import PARKED, Lookup, Outcome, Parked, Reporter, Waiter

NEVER_NS: Final = 1 << 63
"""Deadline that is never reached."""
CROWD: Final = 64
"""Number of services beyond which those that wait are decided on again when there is news, not as time goes by."""


def retry(node: Node, service: ServiceState) -> None:
    """Decide again on what waits, in order: something has changed."""
    if not service.waiters:
        return
    service.forget_needs()
    waiters, service.waiters = service.waiters, []
    # What waits for the database is decided on when that answers; there may be thousands, and this comes often.
    querying = [waiter for waiter in waiters if _awaits_database(service, waiter)]
    others = (waiter for waiter in waiters if not _awaits_database(service, waiter)) if querying else waiters
    service.waiters = querying + _decide_again(node, service, others)
    if not service.waiters:
        node.waiting.pop(service.name, None)


def _awaits_database(service: ServiceState, waiter: Waiter) -> bool:
    return waiter.lookup is Lookup.UNDER_WAY and service.config is not None


def _decide_again(node: Node, service: ServiceState, waiters: Iterable[Waiter]) -> list[Waiter]:
    """Answer what can be answered; what still waits."""
    waiting = []
    for waiter in waiters:
        forget_renewal(waiter)
        answer = decide(node, service, waiter)
        if isinstance(answer, Parked):
            note_renewal(service, waiter)
            if waiter.deadline_ns == NEVER_NS and not _is_unmatched(service, waiter):
                # It was answered already. Now that its request is known it waits for payers, but not for ever.
                waiter.deadline_ns = node.clock.monotonic_ns() + node.settings.booking_wait_max_ns
            waiting.append(waiter)
        else:
            _answer(node, service, waiter, answer)
    return waiting


def unauthorised_committed(
    node: Node, finishes: Sequence[UnauthorisedFinish], kept: Collection[RequestName] | None
) -> None:
    """Finishes whose records were kept are booked here; for the others the database is asked which node owns them."""
    mine: dict[ServiceState, set[str]] = {}
    for service, request in finishes:
        if kept is not None and name_of(request) in kept:
            request.is_owned = True
            mine.setdefault(service, set()).add(request.request_id)
        else:
            node.work.query_request(service, request.request_id)
    for service, request_ids in mine.items():
        ready: dict[Waiter, None] = {}
        for waiter in service.waiters:
            if waiter.lookup is Lookup.UNDER_WAY and waiter.report.request_id in request_ids:
                if waiter.token is not None or not waiter.is_verified or waiter.awaits_end:
                    # It goes on from a part that nobody has looked for.
                    node.work.query_request(service, waiter.report.request_id)
                    continue
                waiter.lookup = Lookup.DONE
                ready[waiter] = None
        _decide_these(node, service, ready)


def found(node: Node, service: ServiceState, parts_by_id: Mapping[str, Sequence[RequestRecord]]) -> None:
    """The database has answered for these requests of a service: decide on what waited for that.

    Only on that: where thousands of requests come up that nobody authorised, each answer is about some of them.
    """
    waiting: dict[str, list[Waiter]] = {request_id: [] for request_id in parts_by_id}
    for waiter in service.waiters:
        if waiter.lookup is Lookup.UNDER_WAY and waiter.report.request_id in waiting:
            waiting[waiter.report.request_id].append(waiter)
    ready: dict[Waiter, None] = {}
    for request_id, waiters in waiting.items():
        for waiter in waiters:
            if not waiter.is_verified:
                verify(node, service, waiter)
                waiter.is_verified = True  # The table of keys was read: what is not in it is no key of this fleet.
        if _is_clear(node, service, request_id, waiters, parts_by_id[request_id]):
            for waiter in waiters:
                waiter.lookup = Lookup.DONE
                trace(node, service, waiter, parts_by_id[request_id])
            ready.update(dict.fromkeys(waiters))
    _decide_these(node, service, ready)


def _decide_these(node: Node, service: ServiceState, ready: Mapping[Waiter, None]) -> None:
    """Decide on some of the reports that wait."""
    if ready:
        others = [waiter for waiter in service.waiters if waiter not in ready]
        service.waiters = others + _decide_again(node, service, ready)
        if not service.waiters:
            node.waiting.pop(service.name, None)


def _is_clear(
    node: Node, service: ServiceState, request_id: str, waiters: Sequence[Waiter], parts: Sequence[RequestRecord]
) -> bool:
    """Whether it is known what these reports go on from; where not, it is looked at again."""
    if any(note_start(node, service, waiter, parts) for waiter in waiters):
        return False
    if not find_owner(node, service, request_id, parts):
        node.work.query_request_later(service, request_id, QUERY_AGAIN_NS)
        return False
    return not _waits_for_end(node, service, request_id, waiters, parts)


def _waits_for_end(
    node: Node, service: ServiceState, request_id: str, waiters: Sequence[Waiter], parts: Sequence[RequestRecord]
) -> bool:
    """Whether these reports wait for the end of a part before, and may do so."""
    name, predecessors = RequestName(service.name, request_id), node.predecessors
    awaiting = [waiter for waiter in waiters if awaits_end(service, waiter, parts)]
    if awaiting:
        now_ns = node.clock.monotonic_ns()
        in_room = [waiter for waiter in awaiting if not waiter.awaits_end]
        waits = predecessors.may_wait(name, awaiting, now_ns)
        for waiter in in_room:
            if waiter.awaits_end:
                node.room.leave(service.name, waiter.reporter)
        while (given_up := predecessors.give_up_oldest()) is not None:
            node.work.query_request(node.services[given_up.service], given_up.request_id)
        if waits:
            delay_ns = predecessors.query_after_ns(name, now_ns)
            if delay_ns is not None:
                node.work.query_request_later(service, request_id, delay_ns)
            return True
        for waiter in awaiting:
            expect_open(node, service, waiter, parts)
    for waiter in predecessors.end(name, waiters):
        node.room.enter(service.name, waiter.reporter)
    return False


def expire(node: Node) -> None:
    """Answer what has waited long enough with what is known."""
    if node.keys.choosing:
        service_choice.look_up_later(node)
        service_choice.expire(node)
    if node.keys.unfollowed:
        follow_later(node)
    now_ns, services = node.clock.monotonic_ns(), list(node.waiting.values())
    for service in services:
        awaits_look_up = any(waiter.awaits_look_up for waiter in service.waiters)
        if not any(waiter.deadline_ns <= now_ns for waiter in service.waiters):
            if awaits_look_up:
                retry(node, service)
            continue
        count = len(service.waiters)
        service.waiters = [
            waiter
            for waiter in list(service.waiters)
            if waiter.deadline_ns > now_ns or _waits_on(node, service, waiter)
        ]
        if len(service.waiters) == count and len(services) > CROWD and not awaits_look_up:
            continue
        retry(node, service)
        if not service.waiters:
            service.forget_needs()
            node.waiting.pop(service.name, None)


def leave(node: Node, reporter: Reporter) -> None:
    """A reporter is gone: what it wanted to begin is not begun, what it finished is booked without further waiting.

    It will say its finishes again elsewhere, where they must be found.
    """
    service_choice.leave(node, reporter)
    now_ns = node.clock.monotonic_ns()
    for service in list(node.waiting.values()):
        mine = [waiter for waiter in service.waiters if waiter.reporter is reporter]
        for waiter in mine:
            waiter.is_left = True
            if waiter.report.phase is Phase.FINISH:
                waiter.deadline_ns = min(waiter.deadline_ns, now_ns)
        dropped = {waiter for waiter in mine if waiter.report.phase is Phase.AUTHORIZE}
        kept = [waiter for waiter in service.waiters if waiter not in dropped]
        for _ in dropped:
            node.room.leave(service.name, reporter)
        service.waiters = kept
        if not kept:
            service.forget_needs()
            del node.waiting[service.name]


def _waits_on(node: Node, service: ServiceState, waiter: Waiter) -> bool:
    """Give a report its last word; whether it still waits, if only to be recorded."""
    answer = _last_word(node, service, waiter)
    if isinstance(answer, Parked):
        return True
    if _is_unmatched(service, waiter) and waiter.report.phase is not Phase.AUTHORIZE:
        # Its counts are not taken in yet, so it is not durable, however long that takes.
        waiter.reporter.answer(waiter.sequence, answer)
        waiter.deadline_ns = NEVER_NS
        return True
    _answer(node, service, waiter, answer)
    return False


def _is_unmatched(service: ServiceState, waiter: Waiter) -> bool:
    """Whether it is not known yet which request a report speaks of."""
    return service.config is None or waiter.lookup is Lookup.UNDER_WAY


def _last_word(node: Node, service: ServiceState, waiter: Waiter) -> Outcome:
    """What is known when a report has waited long enough."""
    report = waiter.report
    unmatched = _is_unmatched(service, waiter)
    if report.phase is Phase.FINISH or report.request_id in service.finished:
        return None if unmatched else decide(node, service, waiter)
    overdue_ns = node.clock.monotonic_ns() - waiter.deadline_ns
    asks_control = waiter.lookup is not Lookup.UNDER_WAY
    if asks_control and node.control_answers and overdue_ns < node.settings.answer_wait_max_ns:
        return PARKED
    if report.phase is Phase.PROGRESS:
        if _is_within_grant(service, waiter):
            return None
        if asks_control and _awaits_renewal(node, service, waiter):
            return PARKED
    decision = deny(
        report.request_id,
        _could_not_tell(node, service, waiter),
        config_version=service.config.version if service.config is not None else 0,
    )
    request = service.open.get(report.request_id)
    if report.phase is Phase.AUTHORIZE:
        node.count_denial(service, stamp_now(node, service, report), decision)
    elif request is not None:
        cut(node, request, decision)
    return decision


def _is_within_grant(service: ServiceState, waiter: Waiter) -> bool:
    """Whether a running request may go on with the grant that it has, here or from elsewhere."""
    request = service.open.get(waiter.report.request_id)
    if request is not None:
        return request.output_tokens < request.ceiling_tokens
    # Only the first report after a move brings the token; those after it wait for the same query into the database.
    tokens = (each.token for each in service.waiters if each.report.request_id == waiter.report.request_id)
    ceilings = [each.output_ceiling_tokens for each in (*tokens, waiter.token) if each is not None]
    return waiter.report.counts.output_class < max(ceilings, default=0)


def _awaits_renewal(node: Node, service: ServiceState, waiter: Waiter) -> bool:
    """Whether a stream's request may wait for control at the end of its grant: while that is valid, nobody is cut off.

    Where control has said that others have what it lacks, it is told so.
    """
    request = service.open.get(waiter.report.request_id)
    return (
        waiter.reporter.keeps_open
        and not waiter.is_left
        and request is not None
        and request.authorised
        and node.leases_valid
        and not service.is_contended_since(_since_ns(node, waiter))
    )


def _since_ns(node: Node, waiter: Waiter) -> int:
    """Since when an authorisation or progress waits."""
    return waiter.deadline_ns - node.settings.wait_max_ns


def _could_not_tell(node: Node, service: ServiceState, waiter: Waiter) -> Reason:
    """Why there is no decision: only what control has said while this report waited can be somebody else's doing."""
    if waiter.lookup is Lookup.UNDER_WAY:
        return Reason.STORAGE_UNAVAILABLE
    if waiter.awaits_look_up:
        return Reason.OVERLOADED
    if waiter.awaits_key or service.config is None or not node.leases_valid or not node.control_answers:
        return Reason.CONTROL_UNREACHABLE
    is_contended = service.is_contended_since(_since_ns(node, waiter))
    return Reason.BUDGET_CONTENDED if is_contended else Reason.CONTROL_UNREACHABLE


def _answer(node: Node, service: ServiceState, waiter: Waiter, answer: Decision | None) -> None:
    forget_renewal(waiter)
    node.room.leave(service.name, waiter.reporter)
    node.room.waits.observe(node.clock.monotonic_ns() - waiter.parked_ns)
    waiter.reporter.answer(waiter.sequence, with_service(waiter, answer))
    waiter.pending.done()
