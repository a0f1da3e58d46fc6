"""A lease of a rate rule: a unit is spent the moment a request holds it, and comes back where it was not used.

Nothing of it waits for a commit, and no booking settles it: what a node that is lost had is gone, and accrues again.
"""

from typing_extensions import override

from metering_service.domain.lease import Lease, LeaseAnswer, LeaseStatement
from metering_service.domain.pot import LimitPotKey, PotKind
from metering_service.domain.rate_rule import RateRule


class RateLease(Lease):
    """Units that have accrued and are this node's. Requests that run may take it below zero."""

    __slots__ = ("_answered_ns", "_told_debt_units", "rule", "users")

    def __init__(self, lease_id: str, account: str, pot: LimitPotKey, rule: RateRule) -> None:
        super().__init__(lease_id, account, "", PotKind.RATE, pot)
        self.rule = rule
        self.users = 0
        """Number of requests that were charged here and may yet be refunded."""
        self._answered_ns: int | None = None
        self._told_debt_units = 0

    @override
    def hold(self, units: int, now_ns: int) -> None:
        """Spend units for a request."""
        self.booked += units
        self.committed = self.booked
        self.demand.take(units, now_ns)

    @property
    @override
    def is_spent(self) -> bool:
        return not self.users and self.settled and self.free <= 0 and self.demand.needed == 0

    @override
    def is_low(self, now_ns: int) -> bool:
        # Where nothing has accrued there is nothing to ask for.
        is_low = not self.closing and self.demand.is_low(self.free, now_ns)
        return is_low and self.level_units(now_ns) > max(0, self.free)

    def refund(self, units: int) -> None:
        """Take back what a request held and did not use, as far as little of it may wait here for the next one.

        A request that was charged on an earlier lease gives nothing to this one.
        """
        units = min(units, self.booked - self.refunded)
        self.refunded += units
        excess_units = min(units, self.free - self.rule.ahead_units)
        if excess_units > 0:
            self.returned += excess_units
            self.demand.returned()

    @property
    def is_known(self) -> bool:
        """Whether control has answered for it, so that its level is known."""
        return self._answered_ns is not None

    def level_units(self, now_ns: int) -> int:
        """What could be had now, as far as this node knows: on lease, available, accrued since; or the debt."""
        rule, level_units = self.rule, self.free + self._told_debt_units
        if self._answered_ns is not None:
            level_units += self.available_units + rule.accrued_units(now_ns - self._answered_ns)
        return min(rule.burst_units, level_units)

    def retry_after_ms(self, units: int, now_ns: int) -> int:
        """Time until so many units will have accrued; at least a millisecond."""
        return max(1, self.rule.accrues_after_ms(units - self.level_units(now_ns)))

    def reset_after_ms(self, now_ns: int) -> int:
        """Time until all of the burst is there again."""
        return self.rule.accrues_after_ms(self.rule.burst_units - self.level_units(now_ns))

    @override
    def answered(self, statement: LeaseStatement, answer: LeaseAnswer, asked_ns: int, now_ns: int) -> None:
        super().answered(statement, answer, asked_ns, now_ns)
        self._answered_ns = asked_ns
        # What was told beyond the lease is in what control says is available, or not.
        told_units = self.granted + statement.refunded_units - statement.consumed_units - statement.returned_units
        self._told_debt_units = max(0, -told_units)
