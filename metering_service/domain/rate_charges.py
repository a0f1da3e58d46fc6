"""What the rate rules that apply to a request have charged for it.

A request is charged what is held for it, the moment that it is held, less what a reservation pays for. A rule lets a
request begin or not; whatever comes later is charged as it is granted, below zero if need be, to one burst's debt.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from metering_service.domain.counts import Counts
from metering_service.domain.grant import GRANT_TOKENS_MAX, SHARE
from metering_service.domain.lease import Lease
from metering_service.domain.pot import HeldUnits
from metering_service.domain.rate_lease import RateLease
from metering_service.domain.rate_rule import RateRule

NO_LIMIT_TOKENS: Final = 1 << 60
"""Number of tokens that stands for as many as one likes."""


class Counted(NamedTuple):
    """Tokens of each class that rate rules count: those that no reservation pays for."""

    input_tokens: int = 0
    output_tokens: int = 0


def counted(held: HeldUnits) -> Counted:
    """What counts of a hold."""
    return Counted(
        held.input_tokens - held.reserved_input_tokens, held.output_ceiling_tokens - held.reserved_output_tokens
    )


def counted_of(usage: Counts, reserved: Counts) -> Counted:
    """What counts of the tokens that were booked."""
    return Counted(usage.input_class - reserved.input_class, usage.output_class - reserved.output_class)


class RateLeases(NamedTuple):
    """This node's leases on the pots of several rules, in the order of these; the other fields are parts of `all`.

    `counting_output`: those of them that are enforced and count output.
    """

    all: tuple[RateLease, ...]
    enforced: tuple[RateLease, ...]
    dry_runs: tuple[RateLease, ...]
    counting_output: tuple[RateLease, ...]


def sorted_leases(leases: Iterable[RateLease]) -> RateLeases:
    """These leases, sorted by what their rules do now."""
    every = tuple(leases)
    enforced = tuple(lease for lease in every if not lease.rule.only_counts)
    return RateLeases(
        every,
        enforced,
        tuple(lease for lease in every if lease.rule.only_counts),
        tuple(lease for lease in enforced if lease.rule.of_output),
    )


class RatePots(Protocol):
    """The pots of all rules that apply to requests of one service and key, of which this node has leases."""

    @property
    def leases(self) -> RateLeases:
        """The leases of now: control may close one at any time, and a rule may change."""

    def note_moved(self) -> None:
        """Something was taken of these leases, or came back."""


class Slots(Protocol):
    """The slots of a rule, of which this node has a lease."""

    @property
    def rule(self) -> RateRule:
        """The rule."""

    @property
    def mine(self) -> Lease:
        """The lease of now."""


class RateCharges:
    """What all rate rules have charged for one request, and the slots that it has.

    Rules and slots are the same for all requests of a service and key; what was charged is kept beside them, by number.
    """

    __slots__ = ("_charged_units", "_counted_units", "_has_slots", "_pots", "_used", "slots")

    def __init__(self, pots: RatePots, slots: Sequence[Slots] = ()) -> None:
        self._pots = pots
        self.slots = slots
        self._has_slots = False
        count = len(pots.leases.all)
        self._counted_units = [0] * count
        self._charged_units = [0] * count
        self._used: list[RateLease] = []
        """Leases that are told once the request has ended: those that it has been charged on."""

    @property
    def enforced(self) -> tuple[RateLease, ...]:
        """The leases of rules that refuse."""
        return self._pots.leases.enforced

    @property
    def dry_runs(self) -> tuple[RateLease, ...]:
        """The leases of rules that only count."""
        return self._pots.leases.dry_runs

    def take(self, held: HeldUnits, now_ns: int) -> None:
        """Charge what is held more than before; with the first hold the request has its slots, be there any or not."""
        input_tokens, output_tokens = counted(held)
        for number, lease in enumerate(self._pots.leases.all):
            rule = lease.rule
            units = rule.of_request + rule.of_input * input_tokens + rule.of_output * output_tokens
            if units > self._counted_units[number]:
                self._charge(number, lease, units, now_ns)
        self._pots.note_moved()
        if not self._has_slots:
            self._has_slots = True
            for slots in self.slots:
                slots.mine.hold(1, now_ns)

    def _charge(self, number: int, lease: RateLease, counted_units: int, now_ns: int) -> None:
        """Charge what is counted more than before: to one burst's debt, or of a dry run to nothing less than zero."""
        before_units = self._counted_units[number]
        self._counted_units[number] = counted_units
        units = counted_units - before_units
        if units > lease.free:
            units = min(units, _chargeable_units(lease, now_ns))
        if not before_units:
            self._used.append(lease)
            lease.users += 1
        if units:
            self._charged_units[number] += units
            lease.hold(units, now_ns)

    def end(self, tokens: Counted, now_ns: int) -> None:
        """The request has ended with these tokens: more is charged, and what was not used is refunded."""
        input_tokens, output_tokens = tokens
        for number, lease in enumerate(self._pots.leases.all):
            rule = lease.rule
            units = rule.of_request + rule.of_input * input_tokens + rule.of_output * output_tokens
            if units > self._counted_units[number]:
                self._charge(number, lease, units, now_ns)
            unused_units = self._charged_units[number] - units
            if unused_units > 0:
                self._charged_units[number] = units
                lease.refund(unused_units)
        self._pots.note_moved()
        for lease in self._used:
            lease.users -= 1
        self._used.clear()
        self.pass_on_slots()

    def pass_on_slots(self) -> None:
        """The request runs no more, or a later part of it does elsewhere, with a slot of its own."""
        if self._has_slots:
            self._has_slots = False
            for slots in self.slots:
                slots.mine.book(1, 0)
        self.slots = ()

    def room_to_begin(self, input_tokens: int) -> int:
        """Output tokens that a request with so many input tokens may begin with, by what is on lease."""
        room = NO_LIMIT_TOKENS
        for lease in self._pots.leases.counting_output:
            room = min(room, lease.free - lease.rule.of_input * input_tokens)
        return room

    def first_grant_max(self, now_ns: int) -> int | None:
        """Maximum size of the first grant: one part in so many of what rules have; None where none counts output."""
        return self._share(now_ns, with_debt=False)

    def grant_max(self, now_ns: int) -> int | None:
        """Maximum size of the next grant of a request that runs; None where no rule counts its output.

        It is one part in so many of what the rule may still give, a burst's debt included; and no more than a grant of
        full size, however long the request is: what is granted and not used yet keeps others waiting.
        """
        return self._share(now_ns, with_debt=True)

    def _share(self, now_ns: int, *, with_debt: bool) -> int | None:
        rooms = [
            lease.level_units(now_ns) + (lease.rule.burst_units if with_debt else 0)
            for lease in self._pots.leases.counting_output
        ]
        return min(GRANT_TOKENS_MAX, max(0, min(rooms)) // SHARE) if rooms else None

    def quiet_tokens(self, ceiling_tokens: int) -> int:
        """The greatest output for which a grant is not renewed yet.

        Where a rule counts output grants do not grow with the request: then it is half of one of full size.
        """
        quiet = ceiling_tokens // 2
        if self._pots.leases.counting_output:
            return max(quiet, ceiling_tokens - GRANT_TOKENS_MAX // 2 - 1)
        return quiet


def _chargeable_units(lease: RateLease, now_ns: int) -> int:
    """All that is on lease, and the rest of one burst's debt. Control sees to it that a dry run makes no debt."""
    lowest_units = 0 if lease.rule.only_counts and lease.is_known else -lease.rule.burst_units
    return max(0, lease.free, lease.level_units(now_ns) - lowest_units)
