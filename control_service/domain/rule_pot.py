"""The pots of rate rules: what has accrued of a rate, and how many requests may still run at once.

Each account has one pot of a rule, also of a model's rule. A slot is held by a request as long as it runs, and never
spent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from control_service.domain.limit import FOR_EVER, LimitPotKey, RateMetric, RateRule
from control_service.domain.pot import Pot, PotKey, PotKind, Quantity
from control_service.domain.rate_pot import US_PER_MS, RatePot


def kind_of(rule: RateRule) -> PotKind:
    """The kind of a rule's pots."""
    return PotKind.SLOTS if rule.metric is RateMetric.CONCURRENT_REQUESTS else PotKind.RATE


@dataclass(frozen=True, slots=True)
class RulePot:
    """A rule's pot in one account."""

    key: LimitPotKey
    units: RatePot | Quantity

    @property
    def kind(self) -> PotKind:
        """Its kind."""
        return PotKind.RATE if isinstance(self.units, RatePot) else PotKind.SLOTS

    @property
    def capacity_units(self) -> int:
        """The most that can be available and on lease at one time: the burst, or all slots."""
        return self.units.burst_units if isinstance(self.units, RatePot) else self.units.capacity_units

    @property
    def pot_key(self) -> PotKey:
        """The pot's key among those of all kinds."""
        return PotKey.of_limit(self.key, self.kind)

    def at(self, rule: RateRule) -> RulePot:
        """The pot under the rule as it is now: a change of it restarts nothing."""
        if isinstance(self.units, RatePot):
            period_ms = rule.period_us // US_PER_MS
            units = self.units.ruled(rule.limit_units, period_ms, rule.burst_units, only_counts=rule.dry_run)
            return replace(self, units=units)
        return replace(self, units=replace(self.units, capacity_units=rule.limit_units))

    def after(self, pot: Pot) -> RulePot:
        """The pot as statements leave it."""
        assert isinstance(pot, (RatePot, Quantity))
        return replace(self, units=pot)


def new_pot(rule: RateRule, key: LimitPotKey, now_us: int) -> RulePot | None:
    """A rule's pot before its first lease; None where the rule has no such pot: all that it counts counts together."""
    if key.member_uid or key.period_start_us != FOR_EVER:
        return None
    if kind_of(rule) is PotKind.SLOTS:
        return RulePot(key, Quantity(rule.limit_units, leased_units=0, spent_units=0))
    full = RatePot.full(rule.limit_units, rule.period_us // US_PER_MS, rule.burst_units, now_us)
    return RulePot(key, replace(full, only_counts=rule.dry_run))
