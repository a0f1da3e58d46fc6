"""The gate of rate rules: what a request must find free before it may begin, of all rules that apply to it at once."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from metering_service.domain.decision import Decision, Reason, deny
from metering_service.domain.lease import Lease
from metering_service.domain.rate_charges import Counted, RateCharges
from metering_service.domain.rate_lease import RateLease
from metering_service.domain.rate_rule import NS_PER_MS, RateMetric, RateRule
from metering_service.domain.rate_status import RateStatus, rate_status

SLOT_RETRY_MS: Final = 1_000
"""Delay before a request that found no slot may be tried again: nobody knows when one that runs ends.

Where it takes those of a silent node, it is the time until these come back at the earliest, if that is more.
"""

_REASONS: Final = {RateMetric.REQUESTS: Reason.REQUEST_RATE, RateMetric.CONCURRENT_REQUESTS: Reason.CONCURRENCY}


class Lack(NamedTuple):
    """A rule of which this node has too little on lease, and how much a request needs."""

    rule: RateRule
    lease: Lease
    units: int

    def is_confirmed(self, now_ns: int) -> bool:
        """Whether control has confirmed that there is no more for now."""
        return self.lease.demand.is_empty(now_ns)

    @property
    def is_for_ever(self) -> bool:
        """Whether the request is larger than all that ever gathers."""
        return self.units > self.rule.most_units

    def wait_ms(self, now_ns: int) -> int:
        """The time until as much may be there, as far as that is known."""
        lease = self.lease
        if isinstance(lease, RateLease):
            return lease.retry_after_ms(self.units, now_ns)
        if lease.returns_ns is None:
            return SLOT_RETRY_MS
        return max(SLOT_RETRY_MS, -(-(lease.returns_ns - now_ns) // NS_PER_MS))

    def denial(self, request_id: str, now_ns: int, config_version: int) -> Decision:
        """The denial of the request."""
        reason, lease = _REASONS.get(self.rule.metric, Reason.TOKEN_RATE), self.lease
        if isinstance(lease, RateLease):
            status = rate_status(lease, now_ns)
        else:
            status = RateStatus(self.rule, 0)
            if lease.returns_ns is not None:
                # It takes those of a silent node: whether its requests still run, only time tells.
                reason = Reason.BUDGET_CONTENDED
        return deny(
            request_id,
            reason,
            retryable=not self.is_for_ever,
            retry_after_ms=None if self.is_for_ever else self.wait_ms(now_ns),
            config_version=config_version,
            rate=status,
        )


def lacks(charges: RateCharges, tokens: Counted) -> list[Lack]:
    """The enforced rules that have too little at hand for a request with so many tokens that count."""
    found = list[Lack]()
    input_tokens, output_tokens = tokens
    for lease in charges.enforced:
        rule = lease.rule
        units = rule.of_request + rule.of_input * input_tokens + rule.of_output * output_tokens
        if units > lease.at_hand_units or units > rule.most_units:
            found.append(Lack(rule, lease, units))
    for slots in charges.slots:
        rule = slots.rule
        if not rule.only_counts and (slots.mine.at_hand_units < 1 or rule.most_units < 1):
            found.append(Lack(rule, slots.mine, 1))
    return found


def definite(found: Sequence[Lack], now_ns: int) -> Lack | None:
    """Of lacks that are definite the one that lasts longest; None where control has to be asked first."""
    for_ever = next((lack for lack in found if lack.is_for_ever), None)
    if for_ever is not None:
        return for_ever
    confirmed = [lack for lack in found if lack.is_confirmed(now_ns)]
    return max(confirmed, key=lambda lack: lack.wait_ms(now_ns), default=None)


def would_deny(charges: RateCharges, tokens: Counted, now_ns: int) -> Iterator[tuple[RateRule, bool]]:
    """The rules in dry run that would have denied a request; and whether that is known, or control has not answered."""
    for lease in charges.dry_runs:
        if not lease.is_known or lease.rule.units(*tokens) > lease.level_units(now_ns):
            yield lease.rule, lease.is_known
    for slots in charges.slots:
        in_use_units = slots.mine.held + slots.mine.leased_elsewhere_units
        if slots.rule.only_counts and in_use_units >= slots.rule.limit_units:
            yield slots.rule, True
