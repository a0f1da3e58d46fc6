"""The metering database in memory. test_memory_recorder.py, in tests/contract/metering, holds it to the real one."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from metering_service.domain.counts_page import CountsPage, counts_at, page_of
from metering_service.domain.errors import NodeFencedError, RevisedElsewhereError, StorageUnavailableError
from metering_service.domain.key_ring import ResumeKey
from metering_service.domain.records import (
    AggregateDelta,
    AggregateKey,
    CommitBatch,
    DenialKey,
    EpochMark,
    LeaseRecord,
    Registration,
    RequestKey,
    RequestRecord,
    RequestState,
)
from metering_service.usecases.ports import RequestName


class MemoryRecorder:
    """`Recorder` without a disk. `down`: nothing is answered. `deaf`: the next commit happens, its answer is lost."""

    def __init__(self) -> None:
        self.nodes: dict[str, tuple[int, int]] = {}
        self.holders: dict[str, str] = {}
        self.closed_below: defaultdict[str, int] = defaultdict(int)
        self.requests: dict[RequestKey, RequestRecord] = {}
        self.rechecks: set[tuple[str, int, RequestKey]] = set()
        self.leases: dict[str, LeaseRecord] = {}
        self.aggregates: defaultdict[AggregateKey, AggregateDelta] = defaultdict(AggregateDelta)
        self.denials: defaultdict[DenialKey, int] = defaultdict(int)
        self.keys: dict[int, ResumeKey] = {}
        self.down = False
        self.deaf = False

    async def database_id(self) -> str:
        return "memory"

    async def resume_keys(self) -> list[ResumeKey]:
        self._answer()
        return [self.keys[number] for number in sorted(self.keys)]

    async def add_resume_key(self, key: ResumeKey) -> None:
        self._answer()
        self.keys.setdefault(key.number, key)

    async def register_node(self, node: str, holder: str = "") -> int:
        self._answer()
        epoch = self.nodes.get(node, (0, 0))[0] + 1
        self.nodes[node] = (epoch, 0)
        self.holders[node] = holder
        return epoch

    async def registration(self, node: str) -> Registration | None:
        self._answer()
        return self._registration(node) if node in self.nodes else None

    async def unsettled_nodes(self, but: str) -> list[Registration]:
        self._answer()
        names = {request.node for request in self.requests.values() if request.state is RequestState.OPEN}
        names |= {lease.node for lease in self.leases.values() if not lease.closed}
        names |= {name for name, _, _ in self.rechecks}
        return [self._registration(name) for name in sorted(names - {but})]

    async def take_over(self, lost: Registration, holder: str, *, idle: bool) -> int | None:
        self._answer()
        epoch, commit_no = self.nodes.get(lost.node, (0, 0))
        if epoch != lost.epoch or (idle and commit_no != lost.commit_no):
            return None
        self.nodes[lost.node] = (epoch + 1, 0)
        self.holders[lost.node] = holder
        return epoch + 1

    async def history(self, node: str) -> list[EpochMark]:
        self._answer()
        return []

    async def commit(self, node: str, epoch: int, batch: CommitBatch) -> set[RequestName] | None:
        self._answer()
        if self.nodes.get(node) == (epoch, batch.commit_no):
            return None
        if self.nodes.get(node) != (epoch, batch.commit_no - 1):
            raise NodeFencedError(f"Node {node} is not at commit {batch.commit_no - 1} of epoch {epoch}.")
        for revised, revision in batch.revised:
            record = self.requests.get(revised)
            found = record.receipt.revision if record is not None else None
            if found != revision:
                raise RevisedElsewhereError(revised, revision, found)
        self.nodes[node] = (epoch, batch.commit_no)
        self.closed_below[node] = max(self.closed_below[node], batch.closed_below_epoch)
        kept = self._put_requests(batch)
        self._put_counts(node, epoch, batch.counts)
        self.rechecks |= {(node, epoch, key) for key in batch.rechecks}
        self.rechecks -= {(node, of_epoch, key) for of_epoch, key in batch.rechecked}
        for lease in batch.leases:
            self._put_lease(lease)
        for key, delta in batch.aggregates:
            _add(self.aggregates[key], delta)
        for denial, count in batch.denials:
            self.denials[denial] += count
        if self.deaf:
            self.deaf = False
            raise StorageUnavailableError("The answer was lost.")
        return kept

    async def open_requests(self, node: str, below_epoch: int) -> list[RequestRecord]:
        self._answer()
        found = [
            request
            for request in self.requests.values()
            if request.node == node and request.epoch < below_epoch and request.state is RequestState.OPEN
        ]
        return sorted(found, key=lambda request: (request.service, request.request_id, request.part))

    async def open_rechecks(self, node: str, below_epoch: int) -> list[tuple[int, RequestKey]]:
        self._answer()
        rechecks = [(epoch, key) for name, epoch, key in self.rechecks if name == node and epoch < below_epoch]
        return sorted(rechecks)

    async def open_leases(self, node: str, below_epoch: int) -> list[LeaseRecord]:
        self._answer()
        found = [
            lease
            for lease in self.leases.values()
            if lease.node == node and lease.epoch < below_epoch and not lease.closed
        ]
        return sorted(found, key=lambda lease: lease.lease_id)

    async def find_request(self, service_uid: str, request_id: str) -> list[RequestRecord]:
        self._answer()
        return sorted(
            (
                request
                for request in self.requests.values()
                if (request.service_uid, request.request_id) == (service_uid, request_id)
            ),
            key=lambda request: (request.start_us, request.part),
        )

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def find_requests(self, names: Sequence[RequestName]) -> dict[RequestName, list[RequestRecord]]:
        self._answer()
        records = sorted(self.requests.values(), key=lambda record: (record.start_us, record.part))
        found: dict[RequestName, list[RequestRecord]] = {}
        for record in records:
            name = RequestName(record.service, record.request_id)
            if name in names:
                found.setdefault(name, []).append(record)
        return found

    async def first_booked_us(self, names: Sequence[RequestName]) -> dict[RequestName, int]:
        self._answer()
        first: dict[RequestName, int] = {}
        for request in self.requests.values():
            name = RequestName(request.service, request.request_id)
            if name in names and request.booked_us is not None and request.predecessor_part is None:
                first[name] = min(first.get(name, request.booked_us), request.booked_us)
        return first

    def _registration(self, node: str) -> Registration:
        return Registration(node, *self.nodes[node], self.holders[node], self.closed_below[node])

    def _answer(self) -> None:
        if self.down:
            raise StorageUnavailableError("The metering database does not answer.")

    def _put_requests(self, batch: CommitBatch) -> set[RequestName]:
        for request in batch.requests:
            self._put_request(request)
        for note in sorted(batch.notes, key=lambda note: -note.epoch):
            self.holders.setdefault(note.node, "")
            self.nodes.setdefault(note.node, (note.epoch, 0))
            self.requests.setdefault((note.service, note.request_id, note.part), note)
        return {
            RequestName(finish.service, finish.request_id)
            for finish in batch.unauthorised
            if self.requests.setdefault((finish.service, finish.request_id, finish.part), finish) is finish
        }

    def _put_counts(self, node: str, epoch: int, pages: Sequence[CountsPage]) -> None:
        """Known to all readers at once: here a page is not kept, but read."""
        data = dict(pages)
        for key, record in self.requests.items():
            if (record.node, record.epoch) == (node, epoch) and record.place is not None:
                counts = counts_at(data.get(page_of(record.place)), record.place)
                if counts is not None and counts != record.counts:
                    self.requests[key] = record._replace(counts=counts, estimated=False, ranks=())

    def _put_request(self, request: RequestRecord) -> None:
        key = (request.service, request.request_id, request.part)
        before = self.requests.get(key)
        is_owned = before is not None and before.part == "" and before.state is RequestState.OPEN
        if is_owned and before is not None and (before.node, before.epoch) != (request.node, request.epoch):
            return
        if before is None or before.state is RequestState.OPEN or request.state is not RequestState.OPEN:
            self.requests[key] = request

    def _put_lease(self, lease: LeaseRecord) -> None:
        before = self.leases.get(lease.lease_id, lease)
        self.leases[lease.lease_id] = replace(
            before,
            consumed_units=max(before.consumed_units, lease.consumed_units),
            closed=before.closed or lease.closed,
            close_us=before.close_us if before.close_us is not None else lease.close_us,
        )


def _add(cell: AggregateDelta, delta: AggregateDelta) -> None:
    cell.usage += delta.usage
    cell.reserved_tokens += delta.reserved_tokens
    cell.trial_tokens += delta.trial_tokens
    cell.billed_tokens += delta.billed_tokens
    cell.unfunded_tokens += delta.unfunded_tokens
    cell.overrun_tokens += delta.overrun_tokens
    cell.cost_nanos += delta.cost_nanos
    cell.debt_nanos += delta.debt_nanos
    cell.request_count += delta.request_count
