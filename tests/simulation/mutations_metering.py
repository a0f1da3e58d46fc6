"""Bugs planted in how the metering service decides and books."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import PropertyMock, patch

from metering_service.domain import (
    booking,
    counts,
    key_ring,
    lease,
    lease_demand,
    price,
    receipt,
    request,
    request_parts,
)
from metering_service.domain.pot import HeldUnits
from metering_service.domain.records import RequestState
from metering_service.usecases import node
from metering_service.usecases.commits import write_buffer
from metering_service.usecases.lookups import parked
from metering_service.usecases.reports import admission, denial, finish, handover, process, timeouts
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.state.service_state import ServiceState
from metering_service.usecases.upkeep import crash_recovery
from tests.simulation.planting import mutation, together


@mutation
def leases_closed_before_requests() -> AbstractContextManager[Any]:
    """A new epoch closes the leases of the old one before their requests are booked."""
    real = crash_recovery.CrashRecovery.find_left

    async def find_left(self: Any) -> None:
        await real(self)
        for share in self._shares.values():
            self._keeper.inherit(share.leases.values())

    return patch.object(crash_recovery.CrashRecovery, "find_left", find_left)


@mutation
def predecessor_forgotten() -> AbstractContextManager[Any]:
    """Who carries on another node's part books all of the request."""

    def start_at(self: Any, start: Any) -> None:
        self.price, self.debt_allowed, self.authorised = start.price, start.debt_allowed, True

    return patch.object(request.Request, "start_at", start_at)


@mutation
def absent_price_is_free() -> AbstractContextManager[Any]:
    """Where no price is in force, money pays all the same: so many tokens times nothing."""
    return patch.object(price.Price, "is_absent", PropertyMock(return_value=False))


def _as_it_is(tally: counts.Tally, _part: str, _parts: Any) -> counts.Tally:
    return tally


def _nobody(_parts: Any, _part: str) -> None:
    return None


@mutation
def part_does_not_learn_its_end() -> AbstractContextManager[Any]:
    """A part that was carried on elsewhere books only what it heard itself, and is not looked at again."""
    return together(
        patch.multiple(timeouts, final_tally=_as_it_is, booked_end=_nobody),
        patch.object(handover, "final_tally", _as_it_is),
    )


@mutation
def recovery_does_not_learn_the_end() -> AbstractContextManager[Any]:
    """What a crashed node left is booked at its last checkpoint, though others heard more, and stays so."""
    return together(
        patch.multiple(crash_recovery, final_tally=_as_it_is, booked_end=_nobody),
        patch.object(handover, "final_tally", _as_it_is),
    )


@mutation
def hold_booked_as_usage() -> AbstractContextManager[Any]:
    """A request that times out is booked with all that was held for it, used or not."""
    real = finish.book_part

    def wrong(its_node: Any, service: Any, its: Any, state: Any) -> None:
        if state is RequestState.TIMED_OUT:
            ceiling = its.base_output_tokens + its.held.output_ceiling_tokens
            whole = counts.Counts(its.base_input_tokens + its.held.input_tokens, output=ceiling)
            its.tally = its.tally.merge(counts.Tally.of(whole, finish=False))
        real(its_node, service, its, state)

    return together(patch.object(finish, "book_part", wrong), patch.object(timeouts, "book_part", wrong))


@mutation
def lease_id_reused() -> AbstractContextManager[Any]:
    """A node calls its lease on a pot by the same id in every epoch."""
    real = ServiceState.lease

    def its_lease(self: Any, kind: Any) -> Any:
        with patch.object(self._leases, "_new_id", lambda: f"{self.name}.{kind.value}"):
            return real(self, kind)

    return patch.object(ServiceState, "lease", its_lease)


@mutation
def denial_keeps_its_hold() -> AbstractContextManager[Any]:
    """A request that is refused keeps what it could have had."""
    real = denial.refuse

    def refuse(its_node: Any, service: Any, its: Any, *needs: int) -> Any:
        its_node.hold(service, its, HeldUnits(input_tokens=1, trial_tokens=1))
        return real(its_node, service, its, *needs)

    return patch.object(admission, "refuse", refuse)


@mutation
def hold_not_given_back() -> AbstractContextManager[Any]:
    """A finished request's unused hold stays held."""

    def book(self: Any, held_units: int, used_units: int) -> None:
        self.held -= min(held_units, used_units)
        self.booked += used_units

    return patch.object(lease.Lease, "book", book)


@mutation
def hold_given_back_twice() -> AbstractContextManager[Any]:
    """A finished request gives back its hold, and its hold again."""

    def book(self: Any, held_units: int, used_units: int) -> None:
        self.held -= 2 * held_units - used_units
        self.booked += used_units

    return patch.object(lease.Lease, "book", book)


@mutation
def returned_twice() -> AbstractContextManager[Any]:
    """What a node gives back unused is counted twice."""

    def give_back(self: Any, units: int) -> None:
        self.returned += 2 * units
        self.demand.returned()

    return patch.object(lease.Lease, "_give_back", give_back)


@mutation
def counts_summed() -> AbstractContextManager[Any]:
    """Cumulative counts are added up."""

    def merge(self: Any, other: Any) -> Any:
        total = self.counts + other.counts
        return counts.Tally.of(total, finish=self.input[1] or other.input[1])

    return patch.object(counts.Tally, "merge", merge)


@mutation
def revision_adds_all() -> AbstractContextManager[Any]:
    """A revised receipt goes into the aggregates in full, not only what it has more."""
    real = write_buffer._add

    def add(cell: Any, booked: booking.Booking) -> None:
        real(cell, booked._replace(before=receipt.Receipt()))
        cell.request_count -= not booked.is_first

    return patch.object(write_buffer, "_add", add)


@mutation
def timeouts_are_forgotten() -> AbstractContextManager[Any]:
    """A request whose server fell silent is settled at nothing."""
    real = finish.book_part

    def wrong(its_node: Any, service: Any, its: Any, state: Any) -> None:
        if state is RequestState.TIMED_OUT:
            its.tally = counts.Tally()
        real(its_node, service, its, state)

    return together(patch.object(finish, "book_part", wrong), patch.object(timeouts, "book_part", wrong))


@mutation
def unknown_counts_not_looked_up() -> AbstractContextManager[Any]:
    """A finish of a request that this node does not know is booked without a look into the database."""
    return patch.object(process, "is_elsewhere", lambda waiter, its: its is None and bool(waiter.report.resume))


@mutation
def resumed_as_new() -> AbstractContextManager[Any]:
    """What the database knows of a request that comes from elsewhere is not taken in."""
    return patch.object(parked, "trace", lambda *_args: None)


@mutation
def token_of_another_service_believed() -> AbstractContextManager[Any]:
    """A resume token is good for whichever service it is shown on."""
    real = key_ring._mac
    return patch.object(key_ring, "_mac", lambda keyed, _uid, *rest: real(keyed, "", *rest))


@mutation
def predecessor_awaited_for_ever() -> AbstractContextManager[Any]:
    """The bound is missing for how long a finish waits for the part before it."""
    return patch.object(NodeSettings, "predecessor_wait_max_ns", property(lambda _: 1 << 60))


@mutation
def finish_without_owner() -> AbstractContextManager[Any]:
    """A finish out of nowhere is booked without asking whether another node books it, too."""
    return patch.object(parked, "find_owner", _own_everything)


def _own_everything(_node: Any, service: Any, request_id: str, _parts: Any) -> bool:
    here = service.open.get(request_id)
    if here is not None:
        here.is_owned = True
    return True


@mutation
def rounded_by_kind() -> AbstractContextManager[Any]:
    """A cost is rounded down for each kind of token, not once."""

    def cost_nanos(self: Any, billed: Any) -> int:
        kinds = (billed.input, billed.cached_input, billed.cache_write, billed.output, billed.reasoning)
        return sum(tokens * each // 1_000_000 for tokens, each in zip(kinds, self.kinds, strict=True))

    return patch.object(price.Price, "cost_nanos", cost_nanos)


@mutation
def offer_of_what_is_held() -> AbstractContextManager[Any]:
    """A request may take what another one holds."""
    real = lease.Lease.offer

    def offer(self: Any, now_ns: int) -> Any:
        said = real(self, now_ns)
        return said._replace(units=said.units + self.held)

    return patch.object(lease.Lease, "offer", offer)


@mutation
def successors_tokens_booked_twice() -> AbstractContextManager[Any]:
    """A part that was carried on elsewhere books all that the parts after it heard, not only up to where they begin."""
    return patch.object(request_parts, "up_to", lambda counts, *_where: counts)


@mutation
def outage_without_bound() -> AbstractContextManager[Any]:
    """A service that goes on without control does so with all that is on lease."""
    real = node.Node.means
    return patch.object(node.Node, "means", lambda self, service: real(self, service)._replace(tokens_max=None))


@mutation
def receipt_without_hold() -> AbstractContextManager[Any]:
    """Once a request is booked, what it used still counts as held."""
    real = receipt.held_by
    return patch.object(booking, "held_by", lambda its: real(its)._replace(money_nanos=0))


@mutation
def parts_share_a_name() -> AbstractContextManager[Any]:
    """All parts of a node are called the same."""
    return patch.object(node.Node, "new_part", lambda self: f"{self.name}.part")


@mutation
def booked_after_closing() -> AbstractContextManager[Any]:
    """A node closes a lease that nobody took from for a while, and goes on booking what requests hold of it."""
    real = lease.Lease.statement

    def statement(self: Any, now_ns: int, *, idle: bool) -> Any:
        said = real(self, now_ns, idle=idle)
        return said and said._replace(closing=self.closing)

    def is_idle(self: Any, now_ns: int) -> bool:
        return bool(self.demand.needed == 0 and now_ns - self.demand.last_change_ns > lease_demand.IDLE_NS)

    return patch.multiple(lease.Lease, statement=statement, is_idle=is_idle)
