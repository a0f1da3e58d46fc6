"""Finishes on one stream that say only their counts: booked together, as long as nothing else comes between."""

from typing import Any

from metering_service.domain.counts import Counts
from metering_service.domain.handles import Handles
from metering_service.usecases.node import Node
from metering_service.usecases.reports.plain_finishes import PlainFinishes
from metering_service.usecases.state.waiter import PendingCommits, Reporter, Scope
from metering_service.usecases.stream_memory import StreamMemory
from metering_service.usecases.stream_messages import COUNTS_NUMBER, WireReport


class FinishRoad:
    """The road of a stream's finishes.

    `following`: by request, what lets its progress pass. `teams`: as `MeterStream` knows them.
    """

    def __init__(
        self,
        node: Node,
        reporter: Reporter,
        memory: StreamMemory,
        handles: Handles,
        *,
        following: dict[str, Any],
        teams: Scope,
    ) -> None:
        self._node = node
        self._reporter = reporter
        self._memory = memory
        self._handles = handles
        self._following = following
        self._teams = teams
        self._finishes: PlainFinishes | None = None

    def take(self, report: WireReport, pending: PendingCommits) -> bool:
        """Take a finish that nothing is special about; False: it takes the road of every other report."""
        request_id, name = report.request_id, report.service
        service = name or self._memory.named(request_id)
        finishes = self._finishes
        if finishes is None or finishes.service.name != service:
            self.book(pending)
            finishes = self._begin(service)
            if finishes is None:
                return False
        if self._memory.has_tokens or report.ListFields()[-1][0].number != COUNTS_NUMBER:
            return False
        usage = report.usage
        counts = Counts(
            usage.input_tokens,
            usage.cached_input_tokens,
            usage.cache_write_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
        )
        if not finishes.take(request_id, counts):
            return False
        if name:
            self._memory.name(request_id, name)
        self._handles.unbind(request_id)
        self._following.pop(request_id, None)
        return True

    def _begin(self, name: str) -> PlainFinishes | None:
        service = self._node.services.get(name)
        if service is not None and self._teams(name) is None:
            self._finishes = PlainFinishes(self._node, service, self._reporter)
        return self._finishes

    def book(self, pending: PendingCommits) -> None:
        """Book what was taken, before anything else is decided."""
        finishes, self._finishes = self._finishes, None
        if finishes is not None:
            finishes.book(pending)
