"""What must reach the database: bookings, checkpoints, consumption, denials; gathered for a group commit."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from metering_service.domain.booking import Booking
from metering_service.domain.counts_page import NOWHERE, CountsPages, neighbourhood_of
from metering_service.domain.decision import Decision
from metering_service.domain.lease import Lease
from metering_service.domain.receipt import Receipt
from metering_service.domain.records import (
    AggregateDelta,
    AggregateKey,
    DenialKey,
    LeaseRecord,
    RequestKey,
    RequestRecord,
)
from metering_service.domain.request import Request
from metering_service.usecases.commits.pending_commit import Claim, Gathering, Marks, add_mark
from metering_service.usecases.ports import RequestName
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.state.service_state import ServiceState
from tallygate._server.clock import Clock

MINUTE_US = 60_000_000

CHECKPOINT_SLICE = 2_048
"""Of the requests whose counts wait for their checkpoint, so many go into one commit."""
CHECKPOINT_STEP = 256
"""So many are gathered at a time, with decisions in between."""
RECORD_COST = 16
"""A whole record takes as long as so many counts."""


class Books:
    """The queue in front of the database: whatever gathered while one commit ran goes in the next."""

    def __init__(self, *, clock: Clock, node: str, epoch: int, settings: NodeSettings) -> None:
        self._clock = clock
        self._node = node
        self._epoch = epoch
        self._settings = settings
        self._next = Gathering()
        self._in_flight: Gathering | None = None
        self._pages = CountsPages()
        # By where their counts lie: in whatever order requests report, a checkpoint writes each page once or twice.
        self._dirty: defaultdict[int, list[Request]] = defaultdict(list)
        self._when_checkpointed: Marks = {}
        self._sweep: list[list[Request]] = []
        self._when_swept: Marks = {}
        self.on_work: Callable[[], None] = lambda: None
        self.on_claims: Callable[[Sequence[Claim], Collection[RequestName] | None], None] = lambda _claims, _kept: None
        """Is told of claims that were committed, and which of them were kept; None: that is not known."""
        self.on_consumed: Callable[[Iterable[Lease]], None] = lambda _leases: None
        """Is told of leases on which consumption was committed."""
        self.alone_ns: int | None = None
        """At this moment no other epoch had taken over yet: it is when the last commit was sent that succeeded."""

    def now_ns(self) -> int:
        """The moment at which a commit is sent."""
        return self._clock.monotonic_ns()

    @property
    def overfull(self) -> bool:
        """Whether so much waits for its commit that nothing new may begin."""
        waiting = self._next.backlog + (self._in_flight.backlog if self._in_flight else 0)
        return waiting >= self._settings.backlog_max

    def put_booking(self, service: ServiceState, request: Request, booking: Booking) -> None:
        """Write what was booked of a request: its record, the totals, and what its leases have consumed."""
        if not booking.is_first:
            self._revise(request.key, booking.before)
        if booking.moves_tokens:
            self._add_to_totals(service.name, service.uid, request.credential, request.labels, booking)
        if self._next.first_us is None:
            self._next.first_us = request.booked_us
        self._put(request)
        for lease in service.leases.values():
            if lease.booked != lease.committed:
                self._next.leases[lease.lease_id] = lease
        self.on_work()

    def checkpoint(self, request: Request, when_done: Callable[[], None] | None = None) -> None:
        """A request began, or its counts changed: commit that before long, so that a crash can book it.

        `when_done` is called as `add_mark` says.
        """
        if not request.dirty:
            self.note_counts(request)
        if when_done is not None:
            _await_counts(request, when_done)
        self.on_work()

    def note_counts(self, request: Request) -> None:
        """Counts of a request that was not dirty changed: the next checkpoint has them. Callers say when to wake."""
        request.dirty = True
        place = request.place
        self._dirty[NOWHERE if place is None else neighbourhood_of(place)].append(request)

    def when_checkpointed(self, callback: Callable[[], None]) -> bool:
        """Call back once all counts as they are now are committed. False: it will be called anyway, once."""
        if callback in self._when_checkpointed:
            return False
        self._when_checkpointed[callback] = None
        self.on_work()
        return True

    def begin(self, request: Request) -> None:
        """A request began. One that goes on from another node's part is on record at once, so that all nodes know."""
        if request.predecessor_part is None:
            self.checkpoint(request)
        else:
            self._put(request)
            self.on_work()

    def claim(self, service: ServiceState, request: Request) -> None:
        """Enter a finish without authorisation, unless another node was faster; then `on_claims` is told."""
        self._next.claims.append(((service, request), request.record(self._node, self._epoch)))
        self.on_work()

    def note(self, record: RequestRecord) -> None:
        """Write a record that its own node should have written, unless that one has, or does so first."""
        self._next.notes[record.key] = record
        self.on_work()

    def expect_revision(self, key: RequestKey, revision: int) -> None:
        """What goes into the next commit goes by a record of that revision: see `Recorder.commit`."""
        self._next.revised.setdefault(key, revision)

    def put_inherited_booking(self, record: RequestRecord, booking: Booking, leases: Iterable[LeaseRecord]) -> None:
        """Write what was booked of a part that an earlier epoch left, and what the leases that it had have consumed."""
        if not booking.is_first:
            self._revise(record.key, booking.before)
        if booking.moves_tokens:
            self._add_to_totals(record.service, record.service_uid, record.credential, record.labels, booking)
        self._next.requests[record.key] = record
        for lease in leases:
            self._next.lease_records[lease.lease_id] = lease
        self.on_work()

    def look_again_at(self, key: RequestKey) -> None:
        """Remember that a part is to be looked at once more, whoever does it."""
        self._next.looks.add(key)
        self.on_work()

    def looked_at(self, epoch: int, key: RequestKey) -> None:
        """That was done; `epoch` had put on record that it was to be."""
        self._next.looked.add((epoch, key))
        self.on_work()

    def when_committed(self, callback: Callable[[], None]) -> None:
        """Call back once everything that was booked until now is committed."""
        self._next.callbacks.append(callback)
        self.on_work()

    def when_counts_durable(self, request: Request, callback: Callable[[], None]) -> None:
        """Call back once the counts of an open request as they are now are committed: at once, if they are.

        Otherwise as `add_mark` says.
        """
        if request.dirty:
            _await_counts(request, callback)
        elif request.packed_in == self._next.number:
            add_mark(self._next.marks, callback)
        elif self._in_flight is not None and request.packed_in == self._in_flight.number:
            add_mark(self._in_flight.marks, callback)
        else:
            self.when_durable(request, callback)

    def when_durable(self, request: Request, callback: Callable[[], None]) -> None:
        """Call back once what is booked of this request now is committed: at once, if it is; or as `add_mark` says."""
        key = request.key
        if key in self._next.requests:
            add_mark(self._next.marks, callback)
        elif self._in_flight is not None and key in self._in_flight.requests:
            add_mark(self._in_flight.marks, callback)
        else:
            callback()

    def count_denial(self, service: ServiceState, credential: str, decision: Decision) -> None:
        """Statistics only: a denial moves no budget."""
        if decision.reason is None or not service.uid:
            return
        key = DenialKey(service.name, service.uid, self._minute_us(), credential, decision.reason.name)
        self._next.denials[key] = self._next.denials.get(key, 0) + 1
        self.on_work()

    def put_lease(self, record: LeaseRecord) -> None:
        """Write a lease's consumption, or that it is closed."""
        self._next.lease_records[record.lease_id] = record
        self.on_work()

    def sweep(self, *, begins: bool) -> Iterator[None]:
        """Gather a part of the checkpoint that goes on, or `begins`: no more than a commit should take.

        Step by step, so that decisions need not wait for all of it.
        """
        if begins and not self.is_sweeping:
            self._sweep, self._dirty = list(self._dirty.values()), defaultdict(list)
            self._when_swept, self._when_checkpointed = self._when_checkpointed, {}
        room = CHECKPOINT_SLICE
        self._checkpoint(CHECKPOINT_STEP)
        while self._sweep and (room := room - CHECKPOINT_STEP) > 0:
            yield
            self._checkpoint(CHECKPOINT_STEP)
        if not self._sweep:
            self._await_commit(self._when_swept)
            self._when_swept.clear()

    def gather(self) -> Gathering | None:
        """Take what waits, for one commit; None if there is nothing. One at a time: then `committed`."""
        self._next.counts = self._pages.take_changed()
        gathering = self._next
        if not gathering:
            return None
        for lease in gathering.leases.values():
            gathering.lease_records[lease.lease_id] = LeaseRecord(
                lease.lease_id,
                self._node,
                self._epoch,
                lease.service,
                lease.service_uid,
                lease.kind,
                lease.booked,
                closed=False,
            )
        self._in_flight, self._next = gathering, Gathering(gathering.number + 1)
        return gathering

    def committed(self, kept_claims: Collection[RequestName] | None = ()) -> None:
        """What was gathered last is in the database: say so to all who wait, and let consumption be reported.

        `kept_claims`: as `Recorder.commit` says.
        """
        gathering, self._in_flight = self._in_flight, None
        assert gathering is not None
        for lease_id, lease in gathering.leases.items():
            lease.committed = max(lease.committed, gathering.lease_records[lease_id].consumed_units)
        self.on_consumed(gathering.leases.values())
        for callback in gathering.callbacks:
            callback()
        for mark in gathering.marks:
            mark()
        if gathering.claims:
            self.on_claims([claim for claim, _ in gathering.claims], kept_claims)

    def fresh_through_us(self) -> int:
        """Everything booked before this moment is committed."""
        waiting = [
            gathering.first_us
            for gathering in (self._in_flight, self._next)
            if gathering is not None and gathering.first_us is not None
        ]
        return min(waiting, default=self._clock.now_us())

    @property
    def idle(self) -> bool:
        """Whether everything is in the database."""
        return not self._next and self._in_flight is None and not self.has_dirty and not self.is_sweeping

    @property
    def has_dirty(self) -> bool:
        """Whether counts of running requests wait for a checkpoint to begin."""
        return bool(self._dirty or self._when_checkpointed)

    @property
    def is_sweeping(self) -> bool:
        """Whether a checkpoint has begun, and needs more commits to end."""
        return bool(self._sweep or self._when_swept)

    def _checkpoint(self, room: int) -> None:
        """Gather the counts of so many requests, or fewer records."""
        sweep, gathering = self._sweep, self._next
        write = self._pages.write
        while sweep and room > 0:
            request = sweep[-1].pop()
            if not sweep[-1]:
                sweep.pop()
            if not request.dirty:
                continue  # It was put meanwhile, whole.
            if request.on_record and request.place is not None:
                write(request.place, request.latest)
                request.packed_in = gathering.number
                request.dirty = False
                if request.marks is not None:
                    self._take_marks(request)
                room -= 1
            else:
                self._put(request)
                room -= RECORD_COST

    def _put(self, request: Request) -> None:
        """The whole record, as it is now."""
        request.on_record = request.is_open and request.claimed and request.part != ""
        self._keep_place(request)
        self._next.requests[request.key] = request.record(self._node, self._epoch)
        self._is_put(request)

    def _keep_place(self, request: Request) -> None:
        """Its counts have a place as long as it runs; what lies there is never older than its record."""
        if not request.on_record:
            if request.place is not None:
                self._pages.give_back(request.place)
                request.place = None
        elif request.place is None:
            request.place = self._pages.take()
        elif self._pages.has(request.place):
            self._pages.write(request.place, request.latest)

    def _take_marks(self, request: Request) -> None:
        """Whoever waits for its counts waits for this commit."""
        marks, request.marks = request.marks, None
        if marks is not None:
            self._await_commit(marks)

    def _await_commit(self, marks: Marks) -> None:
        for mark in marks:
            add_mark(self._next.marks, mark)

    def _is_put(self, request: Request) -> None:
        if request.marks is not None:
            self._take_marks(request)
        request.dirty = False

    def _revise(self, key: RequestKey, before: Receipt) -> None:
        """Have the database compare what it has with what a revision goes by.

        Where that waits here already, revised from what was read sooner, the two are of one moment: refused as well.
        """
        waiting = self._next.requests.get(key)
        if waiting is None:
            self._next.revised[key] = before.revision
        elif waiting.receipt.revision != before.revision:
            self._next.revised[key] = waiting.receipt.revision

    def _add_to_totals(
        self, service: str, service_uid: str, credential: str, labels: tuple[tuple[str, str], ...], booking: Booking
    ) -> None:
        key = AggregateKey(service, service_uid, self._minute_us(), credential, labels)
        cell = self._next.aggregates.get(key)
        if cell is None:
            cell = self._next.aggregates[key] = AggregateDelta()
        _add(cell, booking)

    def _minute_us(self) -> int:
        return self._clock.now_us() // MINUTE_US * MINUTE_US


def _await_counts(request: Request, mark: Callable[[], None]) -> None:
    """Have it called once the counts of a request that is dirty are committed."""
    if request.marks is None:
        request.marks = {}
    add_mark(request.marks, mark)


def _add(cell: AggregateDelta, booking: Booking) -> None:
    """What a receipt has more than the one before it."""
    cell.add(booking.receipt)
    if booking.is_first:
        cell.request_count += 1
    else:
        cell.take_back(booking.before)
