"""Finishes of requests that nothing is special about, of one service and one message: booked together.

What is decided, held and booked is what `finish.finish` would have, one after the other; a test holds the two together.
Sums take the place of many small steps: on leases, in totals, and for what waits for the commit.
"""

from metering_service.domain.counts import Counts
from metering_service.domain.kept_units import NOTHING_KEPT, Kept
from metering_service.domain.plain_end import end_plainly, kept_nanos, plain_receipt
from metering_service.domain.pot import PotKind
from metering_service.domain.receipt import Used
from metering_service.domain.request import Request
from metering_service.usecases.node import Node
from metering_service.usecases.reports.handover import longest_us
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.state.waiter import PendingCommits, Reporter


class PlainFinishes:
    """Those that were taken; `book` is called before anything else is decided."""

    def __init__(self, node: Node, service: ServiceState, reporter: Reporter) -> None:
        self.service = service
        self._node = node
        self._reporter = reporter
        self._now_us = node.clock.now_us()
        self._long_us = self._now_us - longest_us(node)
        self._is_plain = service.outage is None and bool(service.uid)
        self._ended: list[Request] = []
        self._held_tokens = self._used_tokens = self._held_nanos = self._used_nanos = self._kept_nanos = 0

    def take(self, request_id: str, counts: Counts) -> bool:
        """Take one, which is not estimated. False: it takes the long way, and nothing has been changed."""
        request = self.service.open.get(request_id)
        if request is None or request.start_us <= self._long_us or not self._is_plain:
            return False
        receipt = plain_receipt(request, counts)
        if receipt is None:
            return False
        self._held_tokens += request.held.trial_tokens
        self._held_nanos += request.held.money_nanos
        self._kept_nanos += kept_nanos(request, receipt)
        end_plainly(request, receipt, self._now_us)
        request.session = self._reporter
        self._used_tokens += request.held.trial_tokens
        self._used_nanos += receipt.cost_nanos
        del self.service.open[request_id]
        self._ended.append(request)
        return True

    def book(self, pending: PendingCommits) -> None:
        """Book what was taken: `pending` waits for the commit of all of it."""
        if not self._ended:
            return
        node, service = self._node, self.service
        now_ns = service.last_used_ns = node.clock.monotonic_ns()
        if self._held_tokens:
            service.lease(PotKind.TRIAL).book(self._held_tokens, self._used_tokens)
        if self._held_nanos:
            service.lease(PotKind.MONEY).book(self._held_nanos - self._kept_nanos, self._used_nanos)
        kept = Kept(Used(0, 0, 0, self._kept_nanos)) if self._kept_nanos else NOTHING_KEPT
        node.buffer.put_first_bookings(service, self._ended, kept)
        keys = node.keys if node.keys.of_request or node.keys.unfollowed else None
        for request in self._ended:
            if keys is not None:
                keys.ended(request)
            node.silent.pop(request, None)
            node.unpaid.pop(request, None)
            service.finished[request.request_id] = request
            key = (service.name, request.request_id)
            node.finished[key] = now_ns
            node.finished.move_to_end(key)
        pending.expect()
        node.buffer.when_gathered(pending.done)
        self._ended = []
