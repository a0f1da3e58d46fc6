"""The keeper of this node's leases: it reports them to the control service and takes in the answers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Final

from metering_service.domain.lease import Lease, LeaseAnswer, LeaseStatement
from metering_service.domain.lease_demand import WANTED_MAX
from metering_service.domain.pot import LimitPotKey, PotKind
from metering_service.domain.records import LeaseRecord
from metering_service.domain.service import account_of
from metering_service.usecases.leases.due_holders import DueHolders
from metering_service.usecases.lookups.parked import retry
from metering_service.usecases.node import Node
from metering_service.usecases.state.lease_holder import LeaseHolder
from metering_service.usecases.state.pot_state import PotState
from metering_service.usecases.state.service_state import ServiceState

OF_OLD_MAX: Final = 1_000
"""Maximum of leases of earlier epochs, closed ones and others each, that are stated at once: more than fit."""


class LeaseKeeper:
    """All leases of a node, old epochs' included until they are closed."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._inherited: dict[str, LeaseRecord] = {}
        self._adopted: dict[str, LeaseRecord] = {}
        self._unmarked = 0
        self._due = DueHolders(node)
        self.closed_below_epoch = 0
        """Control has closed all leases of this node's epochs below this one for good, as far as it has said so."""
        self.kept_until_ns = 0
        """Until then at the least what earlier epochs left stays open."""
        self.recovered = False
        """Whether all that earlier epochs left is booked, and their leases were handed to `inherit`."""

    @property
    def settled_below_epoch(self) -> int:
        """Control has the last word on all leases of this node's epochs below this one; 0: not yet."""
        settled = self.recovered and not self._inherited and not self._unmarked
        return self._node.epoch if settled else 0

    def adopt(self, leases: Iterable[LeaseRecord]) -> None:
        """Say what was consumed on leases of an earlier epoch; more may yet be booked on them."""
        self._adopted.update((record.lease_id, record) for record in leases if not record.is_stand_in)

    def inherit(self, leases: Iterable[LeaseRecord]) -> None:
        """Close leases of an earlier epoch: nothing more will be booked on them."""
        for record in leases:
            self._adopted.pop(record.lease_id, None)
            self._inherited[record.lease_id] = record

    def recall(self, lease_ids: Sequence[str]) -> None:
        """Another node needs what these leases have free: give it back with the next exchange."""
        self._node.lease_index.recalled.update(dict.fromkeys(lease_ids))

    def replenish(self, service_uids: Sequence[str]) -> None:
        """Pots that were empty may have something again."""
        for uid in service_uids:
            service = self._node.lease_index.by_uid.get(uid)
            if isinstance(service, ServiceState):
                for lease in service.leases.values():
                    lease.demand.replenished()
                retry(self._node, service)

    def replenish_pots(self, pots: Iterable[tuple[str, LimitPotKey]]) -> None:
        """Pots of limits that were empty may have something again. Each is said with its account."""
        node, accounts = self._node, set[str]()
        for account, key in pots:
            pot = node.lease_index.pots.get((account, key))
            if pot is not None:
                accounts.add(account)
                for lease in pot.leases.values():
                    lease.demand.replenished()
        for service in [each for each in node.waiting.values() if account_of(each.name) in accounts]:
            retry(node, service)

    def statements(self) -> list[LeaseStatement]:
        """What there is to say now, or as much of it as an exchange has room for; then `wants_more`."""
        index, now_ns = self._node.lease_index, self._node.clock.monotonic_ns()
        statements = [_inherited(record, closing=True) for record in islice(self._due_inherited(), OF_OLD_MAX)]
        statements += [_inherited(record, closing=False) for record in islice(self._adopted.values(), OF_OLD_MAX)]
        self._mark_recalled()
        for holder in self._due.next(now_ns):
            its = self._say(holder, now_ns)
            statements += its
            if its:
                # Until that is answered: what is cut off or lost is said again with the next exchange.
                index.moved[holder.name] = holder
            else:
                index.moved.pop(holder.name, None)
            if not holder.has_leases:
                self._forget(holder)
        return statements

    def _due_inherited(self) -> Iterator[LeaseRecord]:
        """Leases of earlier epochs to close now: stand-ins last, once all else that those left is booked and closed.

        Control draws what they consumed from what is still open of earlier epochs, and no request may count on that.
        """
        on_record = (record for record in self._inherited.values() if not record.is_stand_in)
        first = next(on_record, None)
        if first is not None:
            return chain((first,), on_record)
        return iter(self._inherited.values() if self.recovered else ())

    def _forget(self, holder: LeaseHolder) -> None:
        index = self._node.lease_index
        index.forget_holder(holder)
        if isinstance(holder, PotState) and holder.is_over(self._node.limits.limit_of(holder.key)):
            index.forget_pot(holder)

    def _mark_recalled(self) -> None:
        index = self._node.lease_index
        for lease_id in index.recalled:
            holder = index.by_lease_id.get(lease_id)
            lease = holder.find_lease(lease_id) if holder is not None else None
            if holder is not None and lease is not None:
                lease.demand.recalled = True
                index.moved[holder.name] = holder
        index.recalled.clear()

    def _say(self, holder: LeaseHolder, now_ns: int) -> list[LeaseStatement]:
        """What there is to say of the leases of a service or a pot."""
        idle = holder.is_at_rest
        reserved = isinstance(holder, ServiceState) and self._keeps_reserve(holder, now_ns)
        statements, pot_reserve = [], self._pot_reserve(holder, now_ns) if isinstance(holder, PotState) else 0
        for lease in holder.all_leases():
            lease.closing = lease.closing or lease.is_idle(now_ns)
            if isinstance(holder, ServiceState):
                lease.demand.reserve = holder.reserve(lease.kind) if reserved else 0
            else:
                lease.demand.reserve = pot_reserve
            statement = lease.statement(now_ns, idle=idle)
            if statement is not None:
                statements.append(statement)
        holder.next_look_ns = now_ns if statements else self._next_look_ns(holder, now_ns, idle=idle)
        return statements

    def _next_look_ns(self, holder: LeaseHolder, now_ns: int, *, idle: bool) -> int:
        """When time alone may give its leases something to say, where a look has just found nothing.

        What waits, and a service for which a reserve is kept, goes without anything happening to a lease.
        """
        if holder.is_waited_for:
            return now_ns
        looks_ns = [lease.next_look_ns(now_ns, idle=idle) for lease in holder.all_leases()]
        if any(lease.demand.reserve for lease in holder.all_leases()):
            kept_ns, services = self._node.settings.reserve_kept_ns, self._node.services
            names = holder.reserves if isinstance(holder, PotState) else (holder.name,)
            looks_ns += [services[name].last_used_ns + kept_ns + 1 for name in names if not services[name].open]
        return min(looks_ns, default=now_ns)

    def answered(
        self, statements: Sequence[LeaseStatement], answers: Sequence[LeaseAnswer], asked_ns: int, valid_for_ns: int
    ) -> None:
        """Take in an exchange. All leases hold for `valid_for_ns` from when the question was sent."""
        node = self._node
        had_lapsed = not node.leases_valid
        node.leases_valid_until_ns = max(node.leases_valid_until_ns, asked_ns + valid_for_ns)
        if had_lapsed and node.leases_valid:
            node.end_outage()
        by_id = {answer.lease_id: answer for answer in answers}
        for statement in statements:
            answer = by_id.get(statement.lease_id)
            if answer is None or self._is_of_old(statement, answer):
                continue
            holder = node.lease_index.by_lease_id.get(statement.lease_id)
            lease = holder.find_lease(statement.lease_id) if holder is not None else None
            if holder is None or lease is None:
                continue
            if node.lease_index.moved.pop(holder.name, None) is not None:
                # Those that were cut off come first next time.
                node.lease_index.moved[holder.name] = holder
            is_new = lease.granted == 0
            lease.answered(statement, answer, asked_ns, node.clock.monotonic_ns())
            if is_new and lease.granted and lease.kind is not PotKind.RATE:
                # So that the next epoch knows of it, should this one end before anything is booked on it.
                node.buffer.put_lease(self._record(lease, closed=False))
            if isinstance(holder, ServiceState) and holder.name not in node.waiting:
                lease.demand.forget_needs()
            if answer.closed:
                self._close(holder, lease, statement)
        for service in list(node.waiting.values()):
            retry(node, service)
        self._look_for_unpaid()

    def _look_for_unpaid(self) -> None:
        """Before what they asked for goes back as unused."""
        node = self._node
        for request in list(node.unpaid):
            silence = node.silent.get(request)
            if silence is None:
                del node.unpaid[request]
            else:
                node.work.query_successor(silence.service, request)

    def _pot_reserve(self, pot: PotState, now_ns: int) -> int:
        """What a pot keeps for an outage, for all services that are in use and go on in one."""
        services = self._node.services
        for name in list(pot.reserves):
            if name not in services or not self._keeps_reserve(services[name], now_ns):
                del pot.reserves[name]
        return sum(pot.reserves.values())

    def _keeps_reserve(self, service: ServiceState, now_ns: int) -> bool:
        """Whether a service is in use, so that an outage would be felt; during one, what is there is kept."""
        node = self._node
        if service.open or service.waiters or not node.leases_valid:
            return True
        return now_ns - service.last_used_ns <= node.settings.reserve_kept_ns

    def _is_of_old(self, statement: LeaseStatement, answer: LeaseAnswer) -> bool:
        """Whether it is about an earlier epoch's lease; that is then dealt with."""
        if not statement.closing:
            return self._adopted.pop(statement.lease_id, None) is not None
        inherited = self._inherited.get(statement.lease_id)
        if inherited is not None and answer.closed:
            del self._inherited[statement.lease_id]
            self._unmarked += 1
            closed = replace(inherited, closed=True, close_us=self._node.clock.now_us())
            self._node.buffer.put_lease(closed)
            self._node.buffer.when_committed(self._marked)
        return inherited is not None

    def _marked(self) -> None:
        """One more is closed in the metering database, so that nobody ever states it again."""
        self._unmarked -= 1

    def wants_more(self) -> bool:
        """Whether the next exchange should not wait: for somebody, here or on another node, or as there is too much."""
        return (
            bool(self._node.lease_index.recalled)
            or self._due.are_too_many
            or any(service.needs_more for service in self._node.waiting.values())
        )

    def close_all(self) -> None:
        """Give everything back: this node shuts down."""
        index = self._node.lease_index
        index.moved.update(index.holders)
        for holder in index.holders.values():
            for lease in holder.leases.values():
                lease.closing = True

    @property
    def all_given_back(self) -> bool:
        """Whether control has heard of all that no request holds."""
        leases = (lease for holder in self._node.lease_index.holders.values() for lease in holder.all_leases())
        return all(lease.held > 0 and lease.free <= 0 and lease.is_acknowledged for lease in leases)

    @property
    def all_closed(self) -> bool:
        """Whether nothing is left to settle with the control service."""
        return (
            not any(True for _ in self._due_inherited())
            and not self._adopted
            and not any(True for holder in self._node.lease_index.holders.values() for _ in holder.all_leases())
        )

    def _close(self, holder: LeaseHolder, lease: Lease, last: LeaseStatement) -> None:
        """Control has closed a lease. It is over once the last statement on it had all that was consumed.

        One that control never granted anything is of a pot that is gone: another one would be closed as well. So what
        requests hold stays on it, and is told once it is booked.
        """
        if lease.settled and last.consumed_units == lease.committed:
            if lease.kind is not PotKind.RATE:  # Nobody asks what became of it: it is forfeited with its node.
                self._node.buffer.put_lease(self._record(lease, closed=True))
            holder.forget_lease(lease)
        elif lease.granted and lease not in holder.draining:
            holder.replace_lease(lease)

    def _record(self, lease: Lease, *, closed: bool) -> LeaseRecord:
        return LeaseRecord(
            lease.lease_id,
            self._node.name,
            self._node.epoch,
            lease.service,
            lease.service_uid,
            lease.kind,
            lease.committed,
            closed=closed,
            close_us=self._node.clock.now_us() if closed else None,
            limit_pot=lease.limit_pot,
        )


def _inherited(record: LeaseRecord, *, closing: bool) -> LeaseStatement:
    """What an earlier epoch consumed. What else it was granted counts as held until all is settled."""
    return LeaseStatement(
        record.lease_id,
        record.service,
        record.service_uid,
        record.pot_kind,
        consumed_units=record.consumed_units,
        returned_units=0,
        held_units=0 if closing else WANTED_MAX,
        wanted_units=0,
        needed_units=0,
        closing=closing,
        limit_pot=record.limit_pot,
    )
