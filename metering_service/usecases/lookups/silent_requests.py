"""Silent requests and the query for their end: who went on with them, and how far they got."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TypeAlias

from metering_service.domain.records import RequestRecord
from metering_service.domain.request import Request
from metering_service.usecases.lookups.id_reuse import QUERY_MAX, name_of
from metering_service.usecases.node import Node
from metering_service.usecases.ports import RequestName
from metering_service.usecases.reports.timeouts import time_out
from metering_service.usecases.state.service_state import ServiceState

Silent: TypeAlias = Mapping[RequestName, tuple[ServiceState, Request]]


class SilentRequests:
    """One part of a request at a time, and the next when what that one changed is on record: revisions go by it.

    A request that is left out is still silent, so it comes again.
    """

    def __init__(self) -> None:
        self._waiting: dict[RequestName, tuple[ServiceState, Request]] = {}
        self._under_way: set[RequestName] = set()

    def add(self, service: ServiceState, request: Request) -> None:
        """A request that nobody spoke of for long enough."""
        name = name_of(request)
        if name not in self._under_way:
            self._waiting.setdefault(name, (service, request))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> Silent:
        """Those for the next query. Then `found`."""
        taken = dict(islice(self._waiting.items(), QUERY_MAX))
        for name in taken:
            del self._waiting[name]
        self._under_way.update(taken)
        return taken

    def found(self, node: Node, taken: Silent, parts: Mapping[RequestName, Sequence[RequestRecord]]) -> None:
        """The database has answered: book them."""
        try:
            for name, (service, request) in taken.items():
                time_out(node, service, request, parts.get(name, ()))
        finally:
            node.buffer.when_committed(partial(self._under_way.difference_update, taken))
