"""Ids that have finished before: elsewhere, or so long ago that this node does not remember.

A decision reads no database. So a new id is allowed, and looked up a moment later together with all that came with it;
where it turns out to have finished before it was authorised, its server is told to stop. The request is booked there
and then, which gives back its hold. What its server says of it after that is recorded in full, as of any request that
was booked behind its server's back. A request that ends before it is looked up stays as it is: that is recorded too.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from metering_service.domain.decision import Reason, deny
from metering_service.domain.request import Request
from metering_service.usecases.node import Node
from metering_service.usecases.ports import RequestName
from metering_service.usecases.reports.cutting import cut
from metering_service.usecases.reports.timeouts import end_now
from metering_service.usecases.state.service_state import ServiceState

QUERY_MAX: Final = 500
"""Maximum of requests in one query."""

_log = structlog.get_logger(__name__)


class NewIds:
    """Ids that are to be looked up. What is too much is not: then a reused one is billed, and nothing else is wrong."""

    def __init__(self, waiting_max: int) -> None:
        self._waiting_max = waiting_max
        self._waiting: deque[tuple[ServiceState, Request]] = deque()
        self.skipped_count = 0
        self._is_overfull = False

    def add(self, service: ServiceState, request: Request) -> None:
        """A request that was authorised now, under an id that this node does not know."""
        if len(self._waiting) < self._waiting_max:
            self._waiting.append((service, request))
            return
        self.skipped_count += 1
        if not self._is_overfull:
            self._is_overfull = True
            _log.warning("ids_not_looked_up", waiting=len(self._waiting), skipped_before=self.skipped_count - 1)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> list[tuple[ServiceState, Request]]:
        """Those for the next query, without requests that have ended since."""
        taken: list[tuple[ServiceState, Request]] = []
        while self._waiting and len(taken) < QUERY_MAX:
            service, request = self._waiting.popleft()
            if _runs(service, request):
                taken.append((service, request))
        self._is_overfull = self._is_overfull and bool(self._waiting)
        return taken


def name_of(request: Request) -> RequestName:
    """What a request is known by in the database."""
    return RequestName(request.service, request.request_id)


def take_first_bookings(
    node: Node, asked: Sequence[tuple[ServiceState, Request]], booked_us: Mapping[RequestName, int]
) -> None:
    """The database has answered: when something of these ids was booked first. Stop what came after that."""
    for service, request in asked:
        first_us = booked_us.get(name_of(request))
        # What was booked after this one began ran beside it: its server asked twice, having heard no answer.
        if first_us is not None and first_us < request.start_us and _runs(service, request):
            _refuse(node, service, request)


def _refuse(node: Node, service: ServiceState, request: Request) -> None:
    session, version = request.session, service.config.version if service.config is not None else 0
    reused = deny(request.request_id, Reason.REQUEST_ID_REUSED, config_version=version)
    if session is not None:
        cut(node, request, reused)
    end_now(node, service, request)
    node.count_denial(service, request.stamp, reused)
    if session is not None:
        session.order(reused)


def _runs(service: ServiceState, request: Request) -> bool:
    return service.open.get(request.request_id) is request
