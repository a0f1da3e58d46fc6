"""Crash recovery: what earlier epochs of this node left behind is booked, and its leases are closed.

A clean shutdown leaves next to nothing. After a crash the database has open requests at their last checkpoint, and
leases at what was committed on them. For the resume window requests may still be carried on by some node, those too
that were never written; then they are booked, on the leases that they had, and only then the leases are closed.

A request may come to light even later, with the resume token of its client: after the window, or after a database was
put back to an older copy. What was set aside for it has been given back, so all of it is overrun, without a payer.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import takewhile
from typing import Final, TypeAlias

import structlog

from metering_service.domain.booking import Booking, book
from metering_service.domain.errors import StorageUnavailableError
from metering_service.domain.pot import PAYERS, HeldUnits, LimitPotKey, PotKind
from metering_service.domain.records import STAND_IN, LeaseRecord, RequestKey, RequestRecord, RequestState
from metering_service.domain.request import Request
from metering_service.domain.request_parts import booked_end, final_tally, later_parts
from metering_service.domain.service import account_of
from metering_service.usecases.leases.lease_keeper import LeaseKeeper
from metering_service.usecases.lookups.id_reuse import QUERY_MAX
from metering_service.usecases.node import Node
from metering_service.usecases.ports import Recorder, RequestName
from metering_service.usecases.reports.handover import booked_chain
from metering_service.usecases.state.pot_state import budget_pots, lasting_pots, units_of
from tallygate._server.clock import NS_PER_US

INTERVAL_S: Final = 1.0
"""Interval at which is booked what can be booked by then, while anything is left."""
LATE_INTERVAL_S: Final = 10.0
"""Interval at which it is looked for what comes to light late, once nothing is left."""

_log = structlog.get_logger(__name__)


_ShareKey: TypeAlias = tuple[str | LimitPotKey, str, int]
"""Uid of the service, or pot of a limit; account of the pot, or nothing; epoch."""
_Recheck: TypeAlias = tuple[int, int, RequestKey]
"""A part to recheck: when, and which epoch had put it on record."""


@dataclass(frozen=True, slots=True)
class _Share:
    """Requests and leases of one service or pot, and epoch: once all of the requests are booked, the leases are closed.

    The requests of a service are in the shares of the pots that they are charged to as well.
    """

    requests: dict[RequestKey, RequestRecord] = field(default_factory=dict)
    leases: dict[str, LeaseRecord] = field(default_factory=dict)


class CrashRecovery:
    """Books what earlier epochs of this node left behind."""

    def __init__(self, node: Node, storage: Recorder, keeper: LeaseKeeper) -> None:
        self._node = node
        self._storage = storage
        self._keeper = keeper
        self._shares: dict[_ShareKey, _Share] = {}
        self._seen: set[RequestKey] = set()
        self._closed: set[_ShareKey] = set()
        """Shares that were handed over to be closed."""
        self._unwritten: set[RequestName] = set()
        """What was booked and is not on record yet: the next booking goes by the record, so it waits for that."""
        self._held_until_ns: dict[RequestKey, int] = {}
        """Those that stay open for a time of their own, by this node's clock, until that is over."""
        self._recheck_after_ns: dict[RequestKey, int] = {}
        """When it is looked next whether another node has gone on with one of those."""
        self._rechecks: deque[_Recheck] = deque()
        self._has_found_rechecks = node.epoch == 1
        self._is_over = False
        self._due_ns = node.clock.monotonic_ns() + node.settings.resume_window_ns
        keeper.kept_until_ns = self._due_ns

    async def find_left(self) -> None:
        """Find what was left."""
        node = self._node
        registration = await self._storage.registration(node.name)
        if registration is not None:
            # Control may not answer before all of it is booked, or have forgotten.
            self._keeper.closed_below_epoch = registration.closed_below_epoch
        await self._find_requests()
        leases = await self._storage.open_leases(node.name, node.epoch)
        self._keeper.adopt(leases)
        for lease in leases:
            self._shares.setdefault(_key_of_lease(lease), _Share()).leases[lease.lease_id] = lease
        self._keeper.recovered = self._is_over = node.epoch == 1

    async def run(self) -> None:
        """Book what is left when it can be booked, until cancelled."""
        while True:
            await asyncio.sleep(self.rest_s)
            await self.book_left()

    @property
    def rest_s(self) -> float:
        """The seconds until the next look for what is left."""
        is_anything_left = self._shares or self.has_rechecks or not self._is_over
        return INTERVAL_S if is_anything_left else LATE_INTERVAL_S

    @property
    def has_rechecks(self) -> bool:
        """Whether anything that was booked is looked at once more."""
        return bool(self._rechecks) or not self._has_found_rechecks

    async def book_left(self) -> None:
        """Book what can be booked by now; the rest next time."""
        if self._node.clock.monotonic_ns() < self._due_ns:
            return
        try:
            await self._find_requests()
            for key, share in list(self._shares.items()):
                for record in list(share.requests.values()) if isinstance(key[0], str) else ():
                    if await self._has_booked(record, is_late=self._is_late(key)):
                        for each in _keys_of(record):
                            self._shares[each].requests.pop(record.key, None)
        except StorageUnavailableError as error:
            _log.debug("recovery_waits", problem=str(error))
            return
        self._hand_over()
        try:
            await self._find_rechecks()
            await self._run_rechecks()
        except StorageUnavailableError as error:
            _log.debug("second_look_waits", problem=str(error))

    def _hand_over(self) -> None:
        """Have the leases closed of which all requests are booked."""
        for key, share in list(self._shares.items()):
            if not share.requests:
                del self._shares[key]
                self._closed.add(key)
                self._node.buffer.when_committed(partial(self._keeper.inherit, share.leases.values()))
        if not self._shares and not self._is_over:
            self._is_over = True
            self._node.buffer.when_committed(self._done)

    def _done(self) -> None:
        self._keeper.recovered = True

    async def _has_booked(self, record: RequestRecord, *, is_late: bool) -> bool:
        """Book one request, and have it rechecked; False if that has to wait."""
        name = RequestName(record.service, record.request_id)
        if name in self._unwritten:
            return False
        now_ns, is_held = self._node.clock.monotonic_ns(), self._is_held(record)
        if is_held and now_ns < self._recheck_after_ns.get(record.key, 0):
            return False
        parts = await self._storage.find_request(record.service_uid, record.request_id)
        if is_held and not later_parts(parts, record.part):
            self._recheck_after_ns[record.key] = now_ns + self._node.settings.resume_window_ns
            return False
        if not self._book_left(record, parts, is_late=is_late):
            return False
        self._node.buffer.add_recheck(record.key)
        self._node.buffer.when_committed(partial(self._wait, self._node.epoch, record.key))
        return True

    def _is_held(self, record: RequestRecord) -> bool:
        """Whether a request stays open, so long as nobody else has gone on with it.

        When that began only the wall clock knows, so from here on it takes no longer than the whole of it.
        """
        if not record.hold_for_us:
            return False
        now_ns, key = self._node.clock.monotonic_ns(), record.key
        if key not in self._held_until_ns:
            left_us = record.start_us + record.hold_for_us - self._node.clock.now_us()
            self._held_until_ns[key] = now_ns + min(max(0, left_us), record.hold_for_us) * NS_PER_US
        return now_ns < self._held_until_ns[key]

    def _wait(self, epoch: int, key: RequestKey) -> None:
        """Look at a part again when another window is over: another node may have gone on with it at that moment."""
        self._rechecks.append((self._node.clock.monotonic_ns() + self._node.settings.resume_window_ns, epoch, key))

    async def _find_rechecks(self) -> None:
        """What earlier epochs timed out, a window ago at least, and did not come to looking at again."""
        if not self._has_found_rechecks:
            found = await self._storage.open_rechecks(self._node.name, self._node.epoch)
            self._rechecks.extendleft((self._node.clock.monotonic_ns(), epoch, key) for epoch, key in found)
            self._has_found_rechecks = True

    async def _run_rechecks(self) -> None:
        """Recheck what is due, as `timeouts.time_out` does. The leases are closed: what is found is late."""
        while due := self._due_rechecks():
            found = await self._storage.find_requests(list(due))
            for name, recheck in due.items():
                self._rechecks.remove(recheck)
                _, epoch, key = recheck
                self._recheck(key, found.get(name, []))
                self._node.buffer.end_recheck(epoch, key)

    def _due_rechecks(self) -> dict[RequestName, _Recheck]:
        """Those for the next query: one part of a request, if nothing that was booked of it waits to be written."""
        now_ns = self._node.clock.monotonic_ns()
        due: dict[RequestName, _Recheck] = {}
        for recheck in takewhile(lambda recheck: recheck[0] <= now_ns, self._rechecks):
            service, request_id, _ = recheck[2]
            name = RequestName(service, request_id)
            if name not in self._unwritten:
                due.setdefault(name, recheck)
            if len(due) == QUERY_MAX:
                break
        return due

    def _recheck(self, key: RequestKey, parts: Sequence[RequestRecord]) -> None:
        *_, part = key
        record = next((each for each in parts if each.part == part), None)
        last = booked_end(parts, part)
        if record is not None and last is not None:
            whole = booked_chain(last, parts, in_memory={})
            whole.fill_earlier()
            self._book_earlier(whole, record)

    async def _find_requests(self) -> None:
        """Other nodes may yet write what an earlier epoch could not."""
        for request in await self._storage.open_requests(self._node.name, self._node.epoch):
            if request.key not in self._seen:
                self._seen.add(request.key)
                for key in _keys_of(request):
                    self._shares.setdefault(key, _Share()).requests[request.key] = request

    def _book_left(self, record: RequestRecord, parts: list[RequestRecord], *, is_late: bool) -> bool:
        """Book one request, if it is known how far it got. What its leases paid is added to their consumption.

        Where nothing goes on from it, nobody else will fill what parts before it had booked too soon.
        """
        request = booked_chain(record, parts, in_memory={})
        tally = final_tally(request.tally, record.part, parts)
        if tally is None:
            return False
        request.tally = tally
        request.fill_earlier()
        if is_late:
            request.held = HeldUnits()
        self._book(request, record)
        if not later_parts(parts, record.part):
            self._book_earlier(request, record)
        return True

    def _book_earlier(self, request: Request, lost: RequestRecord) -> None:
        for part, _, _ in request.earlier:
            if part.has_news:
                self._book(part, lost)

    def _book(self, request: Request, lost: RequestRecord) -> None:
        """Book a part on the leases of the lost one, and those on the pots that both are charged to."""
        if request.is_open:
            request.state = RequestState.TIMED_OUT
        booking = book(request, self._node.clock.now_us())
        booked = request.record(lost.node, lost.epoch)
        self._node.buffer.put_inherited_booking(booked, booking, list(self._consume(booked, booking, lost)))
        name = RequestName(booked.service, booked.request_id)
        self._unwritten.add(name)
        self._node.buffer.when_committed(partial(self._unwritten.discard, name))

    def _consume(self, booked: RequestRecord, booking: Booking, lost: RequestRecord) -> Iterator[LeaseRecord]:
        """The leases that a booking consumes of, with its units added, in place."""
        epoch = self._node.epoch
        leases = self._shares.setdefault((lost.service_uid, "", lost.epoch), _Share()).leases
        for kind, now_units, was_units in zip(PAYERS, booking.used, booking.used_before, strict=True):
            if now_units != was_units:
                yield _add(_lease_for(booked, epoch, kind, leases), now_units - was_units, leases)
        tokens = booking.receipt.usage.total - booking.before.usage.total
        money_nanos = booking.used.money_nanos - booking.used_before.money_nanos
        for pot in budget_pots(booked.pots):
            units = units_of(pot.kind, tokens, money_nanos)
            if units:
                leases = self._shares.setdefault((pot, account_of(booked.service), lost.epoch), _Share()).leases
                yield _add(_lease_for(booked, epoch, pot.kind, leases, pot), units, leases)

    def _is_late(self, share: _ShareKey) -> bool:
        """Whether the leases that were to pay for it are closed already."""
        *_, epoch = share
        return self._is_over or share in self._closed or epoch < self._keeper.closed_below_epoch


def _keys_of(record: RequestRecord) -> Iterator[_ShareKey]:
    """The shares that a request is in."""
    yield record.service_uid, "", record.epoch
    for pot in lasting_pots(record.pots):
        yield pot, account_of(record.service), record.epoch


def _key_of_lease(lease: LeaseRecord) -> _ShareKey:
    """The share that a lease is in."""
    if lease.limit_pot is not None:
        return lease.limit_pot, lease.service, lease.epoch
    return lease.service_uid, "", lease.epoch


def _add(lease: LeaseRecord, units: int, leases: dict[str, LeaseRecord]) -> LeaseRecord:
    """A lease with so much more consumed, in the place of the same one."""
    lease = leases[lease.lease_id] = replace(lease, consumed_units=lease.consumed_units + units)
    return lease


def _lease_for(
    booked: RequestRecord, epoch: int, kind: PotKind, leases: dict[str, LeaseRecord], pot: LimitPotKey | None = None
) -> LeaseRecord:
    """The lease that paid; where none is known that is open, a stand-in, named after the booking.

    Control draws its consumption from what it had granted to the lost epoch. The stand-in is of the epoch which books:
    control may have been told already that there is nothing more of the lost one.
    """
    for lease in leases.values():
        if lease.pot_kind is kind:
            return lease
    whose = [booked.service_uid, booked.request_id, booked.part, booked.receipt.revision]
    # Of one booking there is one for each pot of a limit as well.
    text = json.dumps(whose if pot is None else [*whose, *pot])
    lease_id = f"{STAND_IN}{sha256(text.encode()).hexdigest()[:32]}.{kind.value}"
    if pot is not None:
        account = account_of(booked.service)
        return LeaseRecord(lease_id, booked.node, epoch, account, "", kind, 0, closed=False, limit_pot=pot)
    return LeaseRecord(lease_id, booked.node, epoch, booked.service, booked.service_uid, kind, 0, closed=False)
