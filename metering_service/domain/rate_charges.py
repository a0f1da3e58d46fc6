"""What the rate rules that apply to a request have charged for it.

A request is charged what is held for it, the moment that it is held, less what a reservation pays for. A rule lets a
request begin or not; whatever comes later is charged as it is granted, below zero if need be, to one burst's debt.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from metering_service.domain.grant import GRANT_TOKENS_MAX, SHARE
from metering_service.domain.pot import HeldUnits
from metering_service.domain.rate_lease import RateLease
from metering_service.domain.rate_rule import RateRule

NO_LIMIT_TOKENS: Final = 1 << 60
"""Number of tokens that stands for as many as one likes."""


class Counted(NamedTuple):
    """Tokens of each class that rate rules count: those that no reservation pays for."""

    input_tokens: int = 0
    output_tokens: int = 0


NOTHING_COUNTED: Final = Counted()


def counted(held: HeldUnits) -> Counted:
    """What counts of a hold."""
    return Counted(
        held.input_tokens - held.reserved_input_tokens, held.output_ceiling_tokens - held.reserved_output_tokens
    )


class RateCharge:
    """What one rule has charged for one request."""

    __slots__ = ("_charged_units", "_counted_units", "lease")

    def __init__(self, lease: RateLease) -> None:
        self.lease = lease
        self._counted_units = 0
        self._charged_units = 0

    @property
    def rule(self) -> RateRule:
        """The rule."""
        return self.lease.rule

    def take(self, tokens: Counted, now_ns: int) -> None:
        """Charge what is counted more than before: to one burst's debt, or of a dry run to nothing less than zero."""
        units = self.rule.units(*tokens) - self._counted_units
        if units <= 0:
            return
        self._counted_units += units
        units = min(units, self._chargeable_units(now_ns))
        if units:
            self._charged_units += units
            self.lease.hold(units, now_ns)

    def _chargeable_units(self, now_ns: int) -> int:
        """All that is on lease, and the rest of one burst's debt. Control sees to it that a dry run makes no debt."""
        lease = self.lease
        lowest_units = 0 if self.rule.only_counts and lease.is_known else -self.rule.burst_units
        return max(0, lease.free, lease.level_units(now_ns) - lowest_units)

    def end(self, tokens: Counted, now_ns: int) -> None:
        """The request has ended with these tokens: more is charged, and what was not used is refunded."""
        self.take(tokens, now_ns)
        unused_units = self._charged_units - self.rule.units(*tokens)
        if unused_units > 0 and self.rule.metric.counts_tokens:
            self._charged_units -= unused_units
            self.lease.refund(unused_units)


class RateCharges:
    """What all rate rules have charged for one request."""

    __slots__ = ("charges",)

    def __init__(self, leases: Sequence[RateLease]) -> None:
        self.charges = tuple(map(RateCharge, leases))

    @property
    def enforced(self) -> Iterator[RateLease]:
        """The leases of rules that refuse."""
        return (charge.lease for charge in self.charges if not charge.rule.only_counts)

    @property
    def dry_runs(self) -> Iterator[RateLease]:
        """The leases of rules that only count."""
        return (charge.lease for charge in self.charges if charge.rule.only_counts)

    def take(self, held: HeldUnits, now_ns: int) -> None:
        """Charge what is held more than before."""
        tokens = counted(held)
        for charge in self.charges:
            charge.take(tokens, now_ns)

    def end(self, tokens: Counted, now_ns: int) -> None:
        """The request has ended."""
        for charge in self.charges:
            charge.end(tokens, now_ns)

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

    def grant_max(self, now_ns: int) -> int | None:
        """Maximum size of the next grant of a request that runs; None where no rule counts its output.

        It is one part in so many of what the rule may still give, a burst's debt included; and no more than a grant of
        full size, however long the request is: what is granted and not used yet keeps others waiting.
        """
        rooms = [
            lease.level_units(now_ns) + lease.rule.burst_units
            for lease in self.enforced
            if lease.rule.metric.counts_output
        ]
        return min(GRANT_TOKENS_MAX, max(0, min(rooms)) // SHARE) if rooms else None
