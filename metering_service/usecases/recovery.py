"""What earlier epochs of this node left behind, and its settlement.

A clean shutdown leaves next to nothing. After a crash the database has open requests at their last checkpoint, and
leases at what was committed on them. For the resume window requests may still be carried on by some node, those too
that were never written; then they are booked, on the leases that they had, and only then the leases are closed.

A request may come to light even later, with the resume token of its client: after the window, or after a database was
put back to an older copy. What was set aside for it has been given back, so all of it is overrun, without a payer.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256

import structlog

from metering_service.domain.errors import StorageUnavailable
from metering_service.domain.lineage import final_tally, later_parts, settled_end
from metering_service.domain.records import BudgetKind, HeldUnits, LeaseRecord, RequestRecord, SettlementState
from metering_service.domain.request import Request
from metering_service.domain.settlement import held_by, used
from metering_service.usecases.lease_keeper import LeaseKeeper
from metering_service.usecases.moving import settled_line
from metering_service.usecases.node import Node
from metering_service.usecases.ports import Recorder

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Share:
    """Requests and leases of one service and epoch: the leases are closed when all of the requests are booked."""

    requests: list[RequestRecord] = field(default_factory=list)
    leases: dict[str, LeaseRecord] = field(default_factory=dict)


class Recovery:
    """Settles what earlier epochs of this node left behind."""

    def __init__(self, node: Node, storage: Recorder, keeper: LeaseKeeper) -> None:
        self._node = node
        self._storage = storage
        self._keeper = keeper
        self._shares: dict[tuple[str, int], _Share] = {}
        self._seen: set[tuple[str, str, str]] = set()
        self._settled: deque[tuple[int, RequestRecord]] = deque()
        """What was booked, and when to look at it again."""
        self._looked_for_unfilled = node.epoch == 1
        self._is_over = False
        self._due_ns = node.clock.monotonic_ns() + node.settings.resume_window_ns

    async def look(self) -> None:
        """Find what was left."""
        node = self._node
        registration = await self._storage.registration(node.name)
        if registration is not None:
            # Control may not answer before all of it is settled, or have forgotten.
            self._keeper.closed_below_epoch = registration.closed_below_epoch
        await self._look_for_requests()
        leases = await self._storage.open_leases(node.name, node.epoch)
        self._keeper.adopt(leases)
        for lease in leases:
            self._share(lease).leases[lease.lease_id] = lease
        self._keeper.recovered = self._is_over = node.epoch == 1

    @property
    def looks_again(self) -> bool:
        """Whether anything that was booked is looked at once more."""
        return bool(self._settled) or not self._looked_for_unfilled

    def hasten_second_looks(self) -> bool:
        """As `settle.hasten_second_looks`, of what earlier epochs left."""
        now_ns = self._node.clock.monotonic_ns()
        self._settled = deque((min(due_ns, now_ns), record) for due_ns, record in self._settled)
        return not self._settled

    async def settle(self) -> None:
        """Book what can be booked by now; the rest next time."""
        if self._node.clock.monotonic_ns() < self._due_ns:
            return
        try:
            await self._look_for_requests()
            for share in self._shares.values():
                for record in list(share.requests):
                    parts = await self._storage.find_request(record.service_uid, record.request_id)
                    if self._settle(record, parts, share.leases):
                        share.requests.remove(record)
                        self._node.books.when_committed(partial(self._wait, record))
        except StorageUnavailable as error:
            log.warning("recovery_waits", problem=str(error))
            return
        try:
            await self._look_for_unfilled()
            await self._look_again()
        except StorageUnavailable as error:
            log.warning("second_look_waits", problem=str(error))
        for key, share in list(self._shares.items()):
            if not share.requests:
                del self._shares[key]
                self._node.books.when_committed(partial(self._keeper.inherit, share.leases.values()))
        if not self._shares and not self._is_over:
            self._is_over = True
            self._node.books.when_committed(self._done)

    def _done(self) -> None:
        self._keeper.recovered = True

    def _wait(self, record: RequestRecord) -> None:
        """Look at a part again when another window is over: another node may have gone on with it at that moment."""
        self._settled.append((self._node.clock.monotonic_ns() + self._node.settings.resume_window_ns, record))

    async def _look_again(self) -> None:
        """See `settle.time_out`, which does the same. The leases are closed: what is found is late."""
        while self._settled and self._settled[0][0] <= self._node.clock.monotonic_ns():
            _, record = self._settled[0]
            parts = await self._storage.find_request(record.service_uid, record.request_id)
            last = settled_end(parts, record.part)
            if last is not None:
                whole = settled_line(last, parts, in_memory={})
                whole.fill_earlier()
                self._book_earlier(whole, record, self._share(record).leases)
            self._settled.popleft()

    async def _look_for_requests(self) -> None:
        """Other nodes may yet write what an earlier epoch could not."""
        for request in await self._storage.open_requests(self._node.name, self._node.epoch):
            key = (request.service_uid, request.request_id, request.part)
            if key not in self._seen:
                self._seen.add(key)
                self._share(request).requests.append(request)

    async def _look_for_unfilled(self) -> None:
        """An earlier epoch may have settled a part and not come to looking at it again.

        What else there is of the same request is looked at later: one look may book all of its parts.
        """
        if self._looked_for_unfilled:
            return
        found: dict[tuple[str, str], RequestRecord] = {}
        for record in await self._storage.unfilled_requests(self._node.name, self._node.epoch):
            if found.setdefault((record.service_uid, record.request_id), record) is not record:
                self._wait(record)
        now_ns = self._node.clock.monotonic_ns()
        self._settled.extendleft((now_ns, record) for record in found.values())
        self._looked_for_unfilled = True

    def _share(self, record: RequestRecord | LeaseRecord) -> _Share:
        return self._shares.setdefault((record.service_uid, record.epoch), _Share())

    def _settle(self, record: RequestRecord, parts: list[RequestRecord], leases: dict[str, LeaseRecord]) -> bool:
        """Book one request, if it is known how far it got. What its leases paid is added to their consumption.

        Where nothing goes on from it, nobody else will fill what parts before it had settled too soon.
        """
        request = settled_line(record, parts, in_memory={})
        tally = final_tally(request.tally, record.part, parts)
        if tally is None:
            return False
        request.tally = tally
        request.fill_earlier()
        if self._is_late(record):
            request.held = HeldUnits()
        self._book(request, record, leases)
        if not later_parts(parts, record.part):
            self._book_earlier(request, record, leases)
        return True

    def _book_earlier(self, request: Request, lost: RequestRecord, leases: dict[str, LeaseRecord]) -> None:
        for part, _, _ in request.earlier:
            if part.has_unbooked:
                self._book(part, lost, leases)

    def _book(self, request: Request, lost: RequestRecord, leases: dict[str, LeaseRecord]) -> None:
        """Book a part on the leases of the lost one."""
        before, receipt = request.receipt, request.next_receipt()
        units = [now - was for now, was in zip(used(receipt), request.booked, strict=True)]
        request.receipt, request.held = receipt, held_by(receipt)
        request.settle_us = self._node.clock.now_us()
        if request.is_open:
            request.state = SettlementState.TIMED_OUT
        settled = request.record(lost.node, lost.epoch)
        self._node.books.settle_left(settled, before, list(_consume(lost, receipt.revision, units, leases)))

    def _is_late(self, record: RequestRecord) -> bool:
        """Whether the leases that were to pay for it are closed already."""
        return self._is_over or record.epoch < self._keeper.closed_below_epoch


def _consume(
    record: RequestRecord, revision: int, units: Iterable[int], leases: dict[str, LeaseRecord]
) -> Iterator[LeaseRecord]:
    """The leases that paid so many units of each budget, with these added, in place."""
    kinds = (BudgetKind.RESERVATION_INPUT, BudgetKind.RESERVATION_OUTPUT, BudgetKind.TRIAL, BudgetKind.MONEY)
    for kind, paid_units in zip(kinds, units, strict=True):
        if paid_units:
            lease = _lease_for(record, revision, kind, leases)
            lease = replace(lease, consumed_units=lease.consumed_units + paid_units)
            leases[lease.lease_id] = lease
            yield lease


def _lease_for(record: RequestRecord, revision: int, kind: BudgetKind, leases: dict[str, LeaseRecord]) -> LeaseRecord:
    """The lease that paid; where none is known that is open, one in its stead, for this booking of this part alone."""
    for lease in leases.values():
        if lease.budget_kind is kind:
            return lease
    whose = json.dumps([record.service_uid, record.request_id, record.part, revision])
    lease_id = f"recovered.{sha256(whose.encode()).hexdigest()[:32]}.{kind.value}"
    return LeaseRecord(lease_id, record.node, record.epoch, record.service, record.service_uid, kind, 0, closed=False)
