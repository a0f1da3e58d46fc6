"""What earlier epochs of this node left behind, and its settlement.

A clean shutdown leaves next to nothing. After a crash the database has open requests at their last checkpoint, and
leases at what was committed on them. For the resume window requests may still be carried on by some node, those too
that were never written; then they are booked, on the leases that they had, and only then the leases are closed.

A request may come to light even later, with the resume token of its client: after the window, or after a database was
put back to an older copy. What was set aside for it has been given back, so all of it is overrun, without a payer.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256

import structlog

from metering_service.domain.errors import StorageUnavailable
from metering_service.domain.lineage import final_tally
from metering_service.domain.records import BudgetKind, HeldUnits, LeaseRecord, Receipt, RequestRecord, SettlementState
from metering_service.domain.request import revive
from metering_service.domain.settlement import held_by, overrun, split, used
from metering_service.usecases.lease_keeper import LeaseKeeper
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
        except StorageUnavailable as error:
            log.warning("recovery_waits", problem=str(error))
            return
        for key, share in list(self._shares.items()):
            if not share.requests:
                del self._shares[key]
                self._node.books.when_committed(partial(self._keeper.inherit, share.leases.values()))
        if not self._shares and not self._is_over:
            self._is_over = True
            self._node.books.when_committed(self._done)

    def _done(self) -> None:
        self._keeper.recovered = True

    async def _look_for_requests(self) -> None:
        """Other nodes may yet write what an earlier epoch could not."""
        for request in await self._storage.open_requests(self._node.name, self._node.epoch):
            key = (request.service_uid, request.request_id, request.part)
            if key not in self._seen:
                self._seen.add(key)
                self._share(request).requests.append(request)

    def _share(self, record: RequestRecord | LeaseRecord) -> _Share:
        return self._shares.setdefault((record.service_uid, record.epoch), _Share())

    def _settle(self, record: RequestRecord, parts: list[RequestRecord], leases: dict[str, LeaseRecord]) -> bool:
        """Book one request, if it is known how far it got. What its leases paid is added to their consumption."""
        clock = self._node.clock
        request = revive(record, clock.monotonic_ns())
        tally = final_tally(request.tally, record.part, parts)
        if tally is None:
            return False
        request.tally = tally
        held = HeldUnits() if self._is_late(record) else record.held
        receipt = split(request.counts, held, request.price, debt_allowed=record.debt_allowed)
        receipt = receipt._replace(overrun_tokens=overrun(receipt.usage, held, held.output_ceiling_tokens), revision=1)
        settled = record._replace(
            counts=tally.counts,
            state=SettlementState.TIMED_OUT,
            receipt=receipt,
            held=held_by(receipt),
            settle_us=clock.now_us(),
        )
        self._node.books.settle_left(settled, list(_consume(record, receipt, leases)))
        return True

    def _is_late(self, record: RequestRecord) -> bool:
        """Whether the leases that were to pay for it are closed already."""
        return self._is_over or record.epoch < self._keeper.closed_below_epoch


def _consume(record: RequestRecord, receipt: Receipt, leases: dict[str, LeaseRecord]) -> Iterator[LeaseRecord]:
    """The leases that paid, with what they paid added, in place."""
    for kind, units in zip(
        (BudgetKind.RESERVATION_INPUT, BudgetKind.RESERVATION_OUTPUT, BudgetKind.TRIAL, BudgetKind.MONEY),
        used(receipt),
        strict=True,
    ):
        if units:
            lease = _lease_for(record, kind, leases)
            lease = replace(lease, consumed_units=lease.consumed_units + units)
            leases[lease.lease_id] = lease
            yield lease


def _lease_for(record: RequestRecord, kind: BudgetKind, leases: dict[str, LeaseRecord]) -> LeaseRecord:
    """The lease that paid; where nothing was ever committed on it, one in its stead, for this part alone."""
    for lease in leases.values():
        if lease.budget_kind is kind:
            return lease
    whose = json.dumps([record.service_uid, record.request_id, record.part])
    lease_id = f"recovered.{sha256(whose.encode()).hexdigest()[:32]}.{kind.value}"
    return LeaseRecord(lease_id, record.node, record.epoch, record.service, record.service_uid, kind, 0, closed=False)
