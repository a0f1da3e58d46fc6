"""The write buffer: bookings, checkpoints, consumption and denials gather in it for a group commit."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from metering_service.domain.booking import Booking
from metering_service.domain.decision import Decision
from metering_service.domain.kept_units import NOTHING_KEPT, Kept
from metering_service.domain.lease import Lease
from metering_service.domain.pot import PotKind
from metering_service.domain.receipt import Receipt
from metering_service.domain.records import (
    UNKNOWN,
    WOULD_DENY,
    AggregateDelta,
    AggregateKey,
    DenialKey,
    LeaseRecord,
    RequestKey,
    RequestRecord,
)
from metering_service.domain.request import Request
from metering_service.domain.running_counts import LINE, PACKED, RunningCounts
from metering_service.domain.stamp import Stamp
from metering_service.usecases.commits.pending_commit import Callbacks, PendingCommit, UnauthorisedFinish, add_callback
from metering_service.usecases.ports import RequestName
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.state.service_state import ServiceState
from tallygate._server.clock import Clock

MINUTE_US: Final = 60_000_000

Labels: TypeAlias = tuple[tuple[str, str], ...]
OnUnauthorised: TypeAlias = Callable[[Sequence[UnauthorisedFinish], Collection[RequestName] | None], None]


class _LastCell(NamedTuple):
    """The totals that were added to last."""

    commit: int
    """Number of the commit that they go into."""
    service: str
    service_uid: str
    stamp: Stamp
    labels: Labels
    minute_us: int
    totals: AggregateDelta


class WriteBuffer:
    """The queue in front of the database: whatever gathered while one commit ran goes in the next."""

    def __init__(self, *, clock: Clock, node: str, epoch: int, settings: NodeSettings) -> None:
        self._clock = clock
        self._node = node
        self._epoch = epoch
        self._settings = settings
        self._pending = PendingCommit()
        self._in_flight: PendingCommit | None = None
        self._last_cell: _LastCell | None = None
        self.running = RunningCounts()
        self.spent_units: dict[PotKind, int] = {}
        """Units of leases that were consumed, as committed in this epoch."""
        self._await_counts: dict[int, Callbacks] = {}
        """By slot: called once the counts that wait there for a checkpoint are committed."""
        self.on_work: Callable[[], None] = lambda: None
        self.on_unauthorised: OnUnauthorised = lambda _finishes, _kept: None
        """Called with unauthorised finishes that were committed, and which of them were kept; None: not known."""
        self.on_consumed: Callable[[Iterable[Lease]], None] = lambda _leases: None
        """Is told of leases on which consumption was committed."""
        self.alone_ns: int | None = None
        """At this moment no other epoch had taken over yet: it is when the last commit was sent that succeeded."""

    def now_ns(self) -> int:
        """The moment at which a commit is sent."""
        return self._clock.monotonic_ns()

    @property
    def backlog_count(self) -> int:
        """Number of records that wait for their commit."""
        return self._pending.backlog + (self._in_flight.backlog if self._in_flight else 0)

    @property
    def overfull(self) -> bool:
        """Whether so much waits for its commit that nothing new may begin."""
        return self.backlog_count >= self._settings.backlog_max

    def put_booking(self, service: ServiceState, request: Request, booking: Booking) -> None:
        """Write what was booked of a request: its record, the totals, and what its leases have consumed."""
        pending, is_first = self._pending, booking.is_first
        if not is_first:
            self._revise(request.key, booking.before)
        if is_first or booking.moves_tokens:
            _add(self._totals_of(service.name, service.uid, request), booking)
        if pending.first_us is None:
            pending.first_us = request.booked_us
        self.put(request)
        if booking.kept is not NOTHING_KEPT:
            pending.kept.append((service, request, booking.kept))
        self._note_consumption(service)
        if request.stamp.pots:
            for lease in service.pot_leases(request):
                if lease.booked != lease.committed:
                    pending.leases[lease.lease_id] = lease
        self.on_work()

    def put_first_bookings(self, service: ServiceState, requests: Sequence[Request], kept: Kept) -> None:
        """Write what was booked of requests of a service that are charged to no limit; `kept`: of all of them."""
        pending, last = self._pending, requests[0]
        if pending.first_us is None:
            pending.first_us = last.booked_us
        totals = self._totals_of(service.name, service.uid, last)
        for request in requests:
            if request.stamp is not last.stamp or request.labels != last.labels:
                last, totals = request, self._totals_of(service.name, service.uid, request)
            totals.add(request.receipt)
            totals.request_count += 1
            self.put(request)
        if kept is not NOTHING_KEPT:
            pending.kept.append((service, last, kept))
        self._note_consumption(service)
        self.on_work()

    def _note_consumption(self, service: ServiceState) -> None:
        for lease in service.leases.values():
            if lease.booked != lease.committed:
                self._pending.leases[lease.lease_id] = lease

    def enter_unauthorised(self, service: ServiceState, request: Request) -> None:
        """Enter a finish without authorisation, unless another node was faster; then `on_unauthorised` is called."""
        self._pending.unauthorised.append(((service, request), request.record(self._node, self._epoch)))
        self.on_work()

    def note(self, record: RequestRecord) -> None:
        """Write a record that its own node should have written, unless that one has, or does so first."""
        self._pending.notes[record.key] = record
        self.on_work()

    def expect_revision(self, key: RequestKey, revision: int) -> None:
        """What goes into the next commit goes by a record of that revision: see `Recorder.commit`."""
        self._pending.revised.setdefault(key, revision)

    def put_inherited_booking(self, record: RequestRecord, booking: Booking, leases: Iterable[LeaseRecord]) -> None:
        """Write what was booked of a part that an earlier epoch left, and what the leases that it had have consumed."""
        if not booking.is_first:
            self._revise(record.key, booking.before)
        if booking.moves_tokens:
            _add(self._totals_of(record.service, record.service_uid, record), booking)
        self._pending.requests[record.key] = record
        for lease in leases:
            self._pending.lease_records[lease.lease_id] = lease
        self.on_work()

    def add_recheck(self, key: RequestKey) -> None:
        """Remember that a part is to be checked once more, by this node or another."""
        self._pending.rechecks.add(key)
        self.on_work()

    def end_recheck(self, epoch: int, key: RequestKey) -> None:
        """That was done; `epoch` had put on record that it was to be."""
        self._pending.rechecked.add((epoch, key))
        self.on_work()

    def when_committed(self, callback: Callable[[], None]) -> None:
        """Call back once everything that was booked until now is committed."""
        self._pending.callbacks.append(callback)
        self.on_work()

    def when_counts_durable(self, request: Request, callback: Callable[[], None]) -> None:
        """Call back once the counts of an open request as they are now are committed: at once, if they are.

        Otherwise as `add_callback` says.
        """
        running, slot = self.running, request.slot
        if request.running is None:
            self.when_durable(request, callback)
        elif running.dirty[slot]:
            self.await_counts(slot, callback)
        else:
            self.when_packed(running.lines[slot * LINE + PACKED], callback)

    def when_packed(self, number: int, callback: Callable[[], None]) -> None:
        """Call back once the commit of that number is done: at once, if it is; or as `add_callback` says."""
        if number == self._pending.number:
            add_callback(self._pending.durable_callbacks, callback)
        elif self._in_flight is not None and number == self._in_flight.number:
            add_callback(self._in_flight.durable_callbacks, callback)
        else:
            callback()

    def when_durable(self, request: Request, callback: Callable[[], None]) -> None:
        """Call back once what is booked of this request now is committed: now, if it is; or as `add_callback` says."""
        key = request.key
        if key in self._pending.requests:
            add_callback(self._pending.durable_callbacks, callback)
        elif self._in_flight is not None and key in self._in_flight.requests:
            add_callback(self._in_flight.durable_callbacks, callback)
        else:
            callback()

    def when_gathered(self, callback: Callable[[], None]) -> None:
        """Call back once what is gathered now is committed; as `add_callback` says."""
        add_callback(self._pending.durable_callbacks, callback)

    def count_denial(self, service: ServiceState, stamp: Stamp, decision: Decision) -> None:
        """Statistics only: a denial moves no pot."""
        if decision.reason is None or not service.uid:
            return
        self._count(service, stamp, decision.reason.name)

    def count_would_deny(self, service: ServiceState, stamp: Stamp, rule: str, *, is_known: bool) -> None:
        """Count that a rule in dry run would have denied; apart, that it could not be told. It is among denials."""
        self._count(service, stamp, f"{WOULD_DENY}{rule}" + ("" if is_known else UNKNOWN))

    def _count(self, service: ServiceState, stamp: Stamp, reason: str) -> None:
        minute_us = _minute_of(self._clock.now_us())
        key = DenialKey(service.name, service.uid, minute_us, stamp.team, stamp.credential, reason, stamp.key_team)
        self._pending.denials[key] = self._pending.denials.get(key, 0) + 1
        self.on_work()

    def put_lease(self, record: LeaseRecord) -> None:
        """Write a lease's consumption, or that it is closed."""
        self._pending.lease_records[record.lease_id] = record
        self.on_work()

    def begin_commit(self) -> PendingCommit | None:
        """Take what waits, for one commit; None if there is nothing. One at a time: then `end_commit`."""
        self._pending.counts = self.running.take_changed()
        pending = self._pending
        if not pending:
            return None
        for lease in pending.leases.values():
            pending.lease_records[lease.lease_id] = LeaseRecord(
                lease.lease_id,
                self._node,
                self._epoch,
                lease.service,
                lease.service_uid,
                lease.kind,
                lease.booked,
                closed=False,
                limit_pot=lease.limit_pot,
            )
        self._in_flight, self._pending = pending, PendingCommit(pending.number + 1)
        return pending

    def end_commit(self, kept: Collection[RequestName] | None = ()) -> None:
        """What was gathered last is in the database: say so to all who wait, and let consumption be reported.

        `kept`: as `Recorder.commit` says.
        """
        pending, self._in_flight = self._in_flight, None
        assert pending is not None
        for lease_id, lease in pending.leases.items():
            committed = max(lease.committed, pending.lease_records[lease_id].consumed_units)
            self.spent_units[lease.kind] = self.spent_units.get(lease.kind, 0) + committed - lease.committed
            lease.committed = committed
        for service, request, kept_units in pending.kept:
            service.let_go(request, kept_units)
        self.on_consumed(pending.leases.values())
        for callback in pending.callbacks:
            callback()
        for callback in pending.durable_callbacks:
            callback()
        if pending.unauthorised:
            self.on_unauthorised([finish for finish, _ in pending.unauthorised], kept)

    @property
    def number(self) -> int:
        """The number of the commit that is gathered now."""
        return self._pending.number

    @property
    def idle(self) -> bool:
        """Whether everything that was put here is in the database."""
        return not self._pending and self._in_flight is None

    def fresh_through_us(self) -> int:
        """Everything booked before this moment is committed."""
        waiting = [
            pending.first_us
            for pending in (self._in_flight, self._pending)
            if pending is not None and pending.first_us is not None
        ]
        return min(waiting, default=self._clock.now_us())

    def put(self, request: Request) -> None:
        """The whole record, as it is now. Its counts have a place as long as it runs."""
        if request.running is not None:
            callbacks = self._await_counts.pop(request.slot, None)
            if callbacks is not None:
                self.await_commit(callbacks)
            if not request.is_open:
                request.run_no_more()
            elif request.is_owned and request.part:
                request.running.recorded_whole(request.slot, self.number)
            else:
                request.running.recorded(request.slot, self.number)
        self._pending.requests[request.key] = request.record(self._node, self._epoch)

    def await_counts(self, slot: int, callback: Callable[[], None]) -> None:
        """Call back once the counts that wait for a checkpoint in this slot are committed; as `add_callback` says."""
        callbacks = self._await_counts.get(slot)
        if callbacks is None:
            callbacks = self._await_counts[slot] = {}
        add_callback(callbacks, callback)

    def take_callbacks_of(self, slots: Sequence[int]) -> None:
        """Callbacks that wait for counts in these slots wait for the commit that is gathered now."""
        if self._await_counts:
            for slot in slots:
                callbacks = self._await_counts.pop(slot, None)
                if callbacks is not None:
                    self.await_commit(callbacks)

    def await_commit(self, callbacks: Callbacks) -> None:
        """Call these back once what is gathered now is committed."""
        for callback in callbacks:
            add_callback(self._pending.durable_callbacks, callback)

    def _revise(self, key: RequestKey, before: Receipt) -> None:
        """Have the database compare what it has with what a revision goes by.

        Where that waits here already, revised from what was read sooner, the two are of one moment: refused as well.
        """
        waiting = self._pending.requests.get(key)
        if waiting is None:
            self._pending.revised[key] = before.revision
        elif waiting.receipt.revision != before.revision:
            self._pending.revised[key] = waiting.receipt.revision

    def _totals_of(self, name: str, uid: str, booked: Request | RequestRecord) -> AggregateDelta:
        """The cell of a booking; mostly that of the last one, which is told by its parts being the same objects.

        Its minute is that of the record: no time that passed since then may come between the two.
        """
        assert booked.booked_us is not None
        stamp, labels, minute_us = booked.stamp, booked.labels, _minute_of(booked.booked_us)
        pending, last = self._pending, self._last_cell
        if (
            last is not None
            and last.commit == pending.number
            and last.service is name
            and last.service_uid == uid
            and last.stamp is stamp
            and last.minute_us == minute_us
            and last.labels == labels
        ):
            return last.totals
        key = AggregateKey(name, uid, minute_us, stamp.team, stamp.credential, labels, stamp.key_team, stamp.hour_us)
        totals = pending.aggregates.get(key)
        if totals is None:
            totals = pending.aggregates[key] = AggregateDelta()
        self._last_cell = _LastCell(pending.number, name, uid, stamp, labels, minute_us, totals)
        return totals


def _minute_of(time_us: int) -> int:
    return time_us // MINUTE_US * MINUTE_US


def _add(cell: AggregateDelta, booking: Booking) -> None:
    """What a receipt has more than the one before it."""
    cell.add(booking.receipt)
    if booking.is_first:
        cell.request_count += 1
    else:
        cell.take_back(booking.before)
