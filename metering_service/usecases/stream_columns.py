"""Progress in columns on one stream: what passes, what renews its grant, and what any other entry says as a report."""

from collections.abc import Callable
from typing import Final

from metering_service.domain.counts import Counts
from metering_service.domain.counts_page import SLOT_MASK
from metering_service.domain.decision import Reason, deny
from metering_service.domain.handles import UNBOUND, Entry, Handles, WireColumns
from metering_service.domain.report import TOKENS_MAX, Phase, Report
from metering_service.domain.request import Request
from metering_service.domain.running_counts import LINE, QUIET, REASONING, TOTAL
from metering_service.domain.service import ServiceConfig
from metering_service.usecases.node import Node
from metering_service.usecases.reports.admission import renew
from metering_service.usecases.reports.renewal import is_paid_by_money_alone, raise_grant
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import PARKED, Parked, PendingCommits
from metering_service.usecases.stream_messages import Named, Raised

UNEVEN_COLUMNS: Final = "The columns are of different lengths: nothing of them was taken in."
UNORDERED_ENTRY: Final = "handles do not ascend: that of this entry is not above the one before it."


class ColumnRoad:
    """The road of a stream's columns.

    `follow` is called with a request, and its service, that may pass again. What there is to say gathers in `said` and
    `raised`.
    """

    def __init__(self, node: Node, handles: Handles, follow: Callable[[str, str], None]) -> None:
        self.said: list[Named] = []
        self.raised: list[Raised] = []
        self._node = node
        self._handles = handles
        self._follow = follow

    def take(self, columns: WireColumns, first: int, pending: PendingCommits) -> list[Entry]:
        """Take in what needs no look at its request; what is left. `first`: number of the first entry."""
        count = len(columns.handles)
        if len(columns.output_tokens) != count or len(columns.reasoning_tokens) not in (0, count):
            self.said.append((first + count - 1, deny("", Reason.INVALID_REPORT, message=UNEVEN_COLUMNS)))
            return []
        node = self._node
        is_kept_out = None if node.leases_valid else self._goes_on
        advance = self._handles.advance(node.checkpoints.running, columns, is_kept_out)
        if advance.has_changed or advance.has_dirty:
            node.checkpoints.await_counts(pending)
        elif advance.packed:
            pending.expect()
            node.buffer.when_packed(advance.packed, pending.done)
        return advance.left

    def _goes_on(self, request: Request) -> bool:
        """Whether a request's service goes on without control: then its reports are answered by name."""
        service = self._node.services.get(request.service)
        return service is None or self._node.goes_on(service)

    @property
    def may_renew(self) -> bool:
        """Whether entries may renew grants without the road of reports.

        While the node is cut off, what goes on is answered by name; and keys may end what they let in.
        """
        return self._node.leases_valid and not self._node.keys.of_request

    def renew(self, entry: Entry, sequence: int) -> bool | Parked:
        """Renew the grant of an entry whose ticket still holds, and which is only beyond the quiet part of its grant.

        False: it takes the road of reports. Otherwise its counts are taken in; PARKED: it waits for its renewal.
        """
        node, running, ticket = self._node, self._node.checkpoints.running, self._handles.ticket_of(entry.handle)
        slot = ticket & SLOT_MASK
        at, lines = slot * LINE, running.lines
        if ticket == UNBOUND or lines[at] != ticket:
            return False
        reasoning = lines[at + REASONING] if entry.reasoning_tokens is None else entry.reasoning_tokens
        total, request = entry.output_tokens + reasoning, running.requests[slot]
        if (
            request is None
            or request.awaited_by is not None
            or min(entry.output_tokens, reasoning) < 0
            or total > TOKENS_MAX
        ):
            return False
        if total <= max(lines[at + TOTAL], lines[at + QUIET]):
            # It asks for no renewal: it did not pass for what its neighbours are.
            return False
        service = node.services[request.service]
        if service.config is None or service.config.refusal() is not None:
            return False
        service.last_used_ns = node.clock.monotonic_ns()
        lines[at + TOTAL], lines[at + REASONING] = total, reasoning
        running.dirty[slot] = 1
        raised = raise_grant(node, service, request, total) if is_paid_by_money_alone(service.config) else None
        if raised is None:
            return self._renew_any(service, service.config, request, entry.handle, sequence)
        self.raised.append(Raised(sequence, entry.handle, raised))
        quiet_tokens = min(raised.output_ceiling_tokens // 2, TOKENS_MAX)
        self._handles.set_ticket(entry.handle, running.admit(slot, quiet_tokens))
        return True

    def _renew_any(
        self, service: ServiceState, config: ServiceConfig, request: Request, handle: int, sequence: int
    ) -> bool | Parked:
        """Renew whoever pays."""
        answer = renew(self._node, service, config, request)
        if isinstance(answer, Parked):
            return PARKED
        if answer is not None and answer.grant is not None and answer.raises:
            self.raised.append(Raised(sequence, handle, answer.grant))
        elif answer is not None:
            self.said.append((sequence, answer))
        self._follow(request.request_id, service.name)
        return True

    def as_report(self, entry: Entry, request_id: str, service: str) -> Report:
        """The report that says the same as an entry: the input, and whether it estimates, is as it was said last."""
        state = self._node.services.get(service)
        request = (state.open.get(request_id) or state.finished.get(request_id)) if state is not None else None
        if request is None:
            known = Counts()
        elif request.running is not None:
            known = Counts(*request.running.kinds(request.slot))
        else:
            known = request.tally.counts
        reasoning = known.reasoning if entry.reasoning_tokens is None else entry.reasoning_tokens
        counts = known._replace(output=entry.output_tokens, reasoning=reasoning)
        return Report(request_id, service, Phase.PROGRESS, counts, estimated=self._handles.is_estimated(request_id))
