"""What a node does first: settle what its earlier epochs left behind.

A clean shutdown leaves nothing. After a crash the database has open requests at their last checkpoint, and leases at
what was committed on them: the requests are booked at those counts, on those leases, and the leases are closed.
"""

from dataclasses import replace

from metering_service.domain.records import (
    AggregateDelta,
    AggregateKey,
    BudgetKind,
    CommitBatch,
    LeaseRecord,
    RequestRecord,
    SettlementState,
)
from metering_service.domain.request import revive
from metering_service.domain.settlement import held_by, split, used
from metering_service.usecases.books import MINUTE_US
from metering_service.usecases.ports import Recorder
from tallygate._server.clock import Clock

REQUESTS_PER_COMMIT = 1_000


async def recover(
    storage: Recorder, *, node: str, epoch: int, clock: Clock, commit_no: int = 0
) -> tuple[int, list[LeaseRecord]]:
    """Settle earlier epochs of this node. Returns the last commit number used and the leases that are to be closed."""
    leases = {lease.lease_id: lease for lease in await storage.open_leases(node, epoch)}
    requests = await storage.open_requests(node, epoch)
    for start in range(0, len(requests), REQUESTS_PER_COMMIT):
        commit_no += 1
        batch = _settle(requests[start : start + REQUESTS_PER_COMMIT], leases, clock, commit_no)
        await storage.commit(node, epoch, batch)
    return commit_no, list(leases.values())


def _settle(requests: list[RequestRecord], leases: dict[str, LeaseRecord], clock: Clock, commit_no: int) -> CommitBatch:
    """Book each at its last counts; what its lease paid is added to that lease's consumption, in place."""
    settled: list[RequestRecord] = []
    cells: dict[AggregateKey, AggregateDelta] = {}
    touched: dict[str, LeaseRecord] = {}
    now_us = clock.now_us()
    for record in requests:
        request = revive(record, now_ns=0)
        receipt = split(request.counts, record.held, request.price, debt_allowed=record.debt_allowed)
        receipt = replace(receipt, revision=1)
        settled.append(
            replace(
                record,
                state=SettlementState.HANDED_OVER,
                receipt=receipt,
                held=held_by(receipt),
                settle_us=now_us,
            )
        )
        key = AggregateKey(
            record.service, record.service_uid, now_us // MINUTE_US * MINUTE_US, record.credential, record.labels
        )
        _add(cells.setdefault(key, AggregateDelta()), settled[-1])
        units = used(receipt)
        for kind, consumed in (
            (BudgetKind.RESERVATION_INPUT, units.reserved_input),
            (BudgetKind.RESERVATION_OUTPUT, units.reserved_output),
            (BudgetKind.TRIAL, units.trial),
            (BudgetKind.MONEY, units.money_nanos),
        ):
            if consumed:
                lease = _lease_for(leases, record, kind)
                lease = replace(lease, consumed_units=lease.consumed_units + consumed)
                leases[lease.lease_id] = touched[lease.lease_id] = lease
    return CommitBatch(commit_no, tuple(settled), tuple(touched.values()), tuple(cells.items()))


def _lease_for(leases: dict[str, LeaseRecord], record: RequestRecord, kind: BudgetKind) -> LeaseRecord:
    """The lease that paid; where nothing was ever committed on it, one in its stead, always under the same name."""
    for lease in leases.values():
        if (lease.service_uid, lease.budget_kind, lease.epoch) == (record.service_uid, kind, record.epoch):
            return lease
    lease_id = f"recovered.{record.node}.{record.epoch}.{record.service_uid}.{kind.value}"
    return LeaseRecord(lease_id, record.node, record.epoch, record.service, record.service_uid, kind, 0, closed=False)


def _add(cell: AggregateDelta, record: RequestRecord) -> None:
    receipt = record.receipt
    cell.usage += receipt.usage
    cell.reserved_tokens += receipt.reserved.total
    cell.trial_tokens += receipt.trial.total
    cell.billed_tokens += receipt.billed.total
    cell.unfunded_tokens += receipt.unfunded.total
    cell.overrun_tokens += receipt.overrun_tokens
    cell.cost_nanos += receipt.cost_nanos
    cell.debt_nanos += receipt.debt_nanos
    cell.request_count += 1
