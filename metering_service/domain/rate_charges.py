"""What the rate rules that apply to a request have charged for it.

A request is charged what is held for it, the moment that it is held, less what a reservation pays for. A rule lets a
request begin or not; whatever comes later is charged as it is granted, below zero if need be, to one burst's debt.
"""

from collections.abc import Iterator, Sequence
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


class RateUnits(Protocol):
    """The pot of a rule, of which this node has a lease: another one after control has closed it."""

    @property
    def rate_lease(self) -> RateLease:
        """The lease of now."""


class Slots(Protocol):
    """The slots of a rule, of which this node has a lease."""

    @property
    def rule(self) -> RateRule:
        """The rule."""

    @property
    def mine(self) -> Lease:
        """The lease of now."""


class RateCharge:
    """What one rule has charged for one request."""

    __slots__ = ("_charged_units", "_counted_units", "_pot", "_used")

    def __init__(self, pot: RateUnits) -> None:
        self._pot = pot
        self._counted_units = 0
        self._charged_units = 0
        self._used: RateLease | None = None

    @property
    def lease(self) -> RateLease:
        """This node's lease on the rule's pot."""
        return self._pot.rate_lease

    def take(self, tokens: Counted, now_ns: int) -> None:
        """Charge what is counted more than before: to one burst's debt, or of a dry run to nothing less than zero."""
        lease = self._pot.rate_lease
        units = lease.rule.units(*tokens) - self._counted_units
        if units <= 0:
            return
        self._counted_units += units
        units = min(units, _chargeable_units(lease, now_ns))
        if self._used is None:
            self._used = lease
            lease.users += 1
        if units:
            self._charged_units += units
            lease.hold(units, now_ns)

    def end(self, tokens: Counted, now_ns: int) -> None:
        """The request has ended with these tokens: more is charged, and what was not used is refunded."""
        self.take(tokens, now_ns)
        lease = self._pot.rate_lease
        unused_units = self._charged_units - lease.rule.units(*tokens)
        if unused_units > 0 and lease.rule.metric.counts_tokens:
            self._charged_units -= unused_units
            lease.refund(unused_units)
        if self._used is not None:
            self._used.users -= 1
            self._used = None


def _chargeable_units(lease: RateLease, now_ns: int) -> int:
    """All that is on lease, and the rest of one burst's debt. Control sees to it that a dry run makes no debt."""
    lowest_units = 0 if lease.rule.only_counts and lease.is_known else -lease.rule.burst_units
    return max(0, lease.free, lease.level_units(now_ns) - lowest_units)


class RateCharges:
    """What all rate rules have charged for one request, and the slots that it has."""

    __slots__ = ("_has_slots", "charges", "slots")

    def __init__(self, pots: Sequence[RateUnits], slots: Sequence[Slots] = ()) -> None:
        self.charges = tuple(map(RateCharge, pots))
        self.slots = tuple(slots)
        self._has_slots = False

    @property
    def enforced(self) -> Iterator[RateLease]:
        """The leases of rules that refuse."""
        return (lease for charge in self.charges if not (lease := charge.lease).rule.only_counts)

    @property
    def dry_runs(self) -> Iterator[RateLease]:
        """The leases of rules that only count."""
        return (lease for charge in self.charges if (lease := charge.lease).rule.only_counts)

    def take(self, held: HeldUnits, now_ns: int) -> None:
        """Charge what is held more than before; with the first hold the request has its slots, be there any or not."""
        tokens = counted(held)
        for charge in self.charges:
            charge.take(tokens, now_ns)
        if not self._has_slots:
            self._has_slots = True
            for slots in self.slots:
                slots.mine.hold(1, now_ns)

    def end(self, tokens: Counted, now_ns: int) -> None:
        """The request has ended."""
        for charge in self.charges:
            charge.end(tokens, now_ns)
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
        return min(
            (
                lease.free - lease.rule.units(input_tokens, 0)
                for lease in self.enforced
                if lease.rule.metric.counts_output
            ),
            default=NO_LIMIT_TOKENS,
        )

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
            lease.level_units(now_ns) + lease.rule.burst_units * with_debt
            for lease in self.enforced
            if lease.rule.metric.counts_output
        ]
        return min(GRANT_TOKENS_MAX, max(0, min(rooms)) // SHARE) if rooms else None

    def quiet_tokens(self, ceiling_tokens: int) -> int:
        """The greatest output for which a grant is not renewed yet.

        Where a rule counts output grants do not grow with the request: then it is half of one of full size.
        """
        quiet = ceiling_tokens // 2
        if any(lease.rule.metric.counts_output for lease in self.enforced):
            quiet = max(quiet, ceiling_tokens - GRANT_TOKENS_MAX // 2 - 1)
        return quiet
