"""The pots of rate rules on this node: leases on what has accrued, and on slots, under the rule as it is now."""

from typing_extensions import override

from metering_service.domain.lease import Lease
from metering_service.domain.limit import Charge, Limit
from metering_service.domain.pot import PotKind
from metering_service.domain.rate_lease import RateLease
from metering_service.domain.rate_rule import RateMetric, RateRule
from metering_service.usecases.state.lease_holder import LeaseIndex
from metering_service.usecases.state.pot_state import PotState


class RuleState(PotState):
    """One pot of a rule."""

    __slots__ = ("_limit", "rule")

    def __init__(self, account: str, charge: Charge, index: LeaseIndex) -> None:
        super().__init__(account, charge.pot, index)
        self._limit = charge.limit
        self.rule: RateRule = rule_of(charge.limit)

    @override
    def new_lease(self, lease_id: str, kind: PotKind) -> Lease:
        if kind is PotKind.RATE:
            return RateLease(lease_id, self.account, self.key, self.rule)
        return super().new_lease(lease_id, kind)

    @property
    def rate_lease(self) -> RateLease:
        """The lease on what has accrued."""
        lease = self.mine
        assert isinstance(lease, RateLease)
        return lease

    def under(self, limit: Limit) -> None:
        """The rule as it is now."""
        if limit is not self._limit:
            self._limit, self.rule = limit, rule_of(limit)
            for lease in self.leases.values():
                if isinstance(lease, RateLease):
                    lease.rule = self.rule


def rule_of(limit: Limit) -> RateRule:
    """The rule that a limit is."""
    return RateRule(
        name=limit.name,
        place=limit.place,
        metric=RateMetric(limit.metric),
        limit_units=limit.limit_units,
        period_ms=limit.period_ms,
        burst_units=limit.burst_units,
        only_counts=limit.only_counts,
    )


def rule_state(index: LeaseIndex, account: str, charge: Charge) -> RuleState:
    """The pot of a rule that applies; a new one, without a lease, if there is none."""
    pot = index.pots.get((account, charge.pot))
    if not isinstance(pot, RuleState):
        pot = index.pots[account, charge.pot] = RuleState(account, charge, index)
    pot.under(charge.limit)
    return pot
