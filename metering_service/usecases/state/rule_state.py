"""The pots of rate rules on this node: leases on what has accrued, and on slots, under the rule as it is now."""

from typing import NamedTuple

from typing_extensions import override

from metering_service.domain.lease import Lease
from metering_service.domain.limit import Applying, Charge, Limit
from metering_service.domain.pot import PotKind
from metering_service.domain.rate_charges import RateLeases, sorted_leases
from metering_service.domain.rate_lease import RateLease
from metering_service.domain.rate_rule import RateMetric, RateRule
from metering_service.domain.service import account_of
from metering_service.usecases.state.lease_holder import LeaseIndex
from metering_service.usecases.state.pot_state import CHARGED_MAX, PotState


class RuleState(PotState):
    """One pot of a rule."""

    __slots__ = ("_limit", "rule")

    def __init__(self, account: str, charge: Charge, index: LeaseIndex) -> None:
        super().__init__(account, charge.pot, index)
        self._limit = charge.limit
        self.rule: RateRule = rule_of(charge.limit)

    @override
    def is_over(self, limit: Limit | None) -> bool:
        """Requests that run remember it as long as the rule is there; of two states only one would be told of."""
        return limit is None and super().is_over(limit)

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
            self._index.changes += 1
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
        pot = RuleState(account, charge, index)
        index.enter_pot(pot)
    pot.under(charge.limit)
    return pot


class RulePots:
    """The pots of several rules. Their leases are looked up again when some lease came or went, or a rule changed."""

    __slots__ = ("_index", "_leases", "_pots", "_seen_changes")

    def __init__(self, index: LeaseIndex, pots: tuple[RuleState, ...]) -> None:
        self._index = index
        self._pots = pots
        self._leases = sorted_leases(())
        self._seen_changes = -1

    @property
    def leases(self) -> RateLeases:
        """The leases of now; new ones, with nothing granted yet, where there are none."""
        if self._seen_changes != self._index.changes:
            self._leases = sorted_leases(pot.rate_lease for pot in self._pots)
            self._seen_changes = self._index.changes
        return self._leases

    def note_moved(self) -> None:
        """Something was taken of these leases, or came back."""
        moved = self._index.moved
        for pot in self._pots:
            moved[pot.name] = pot


class ChargedRules(NamedTuple):
    """The rules that apply to requests of one service and key.

    Attributes:
        applies: What they were found by.
        rates: Pots of what accrues.
        later: Those of them that a part is charged which goes on from another one: it is the same request.
        slots: Pots of slots.
    """

    applies: Applying
    rates: RulePots
    later: RulePots
    slots: tuple[RuleState, ...]


def charged_rules(index: LeaseIndex, service: str, key_uid: str, key_team: str, applies: Applying) -> ChargedRules:
    """The pots of the rules that apply; found once for all requests of a service and key."""
    known = index.rules.get((service, key_uid, key_team))
    if known is not None and known.applies is applies:
        return known
    account = account_of(service)
    pots = [rule_state(index, account, charge) for charge in applies.rules]
    rates = tuple(pot for pot in pots if pot.key.kind is not PotKind.SLOTS)
    later = tuple(pot for pot in rates if pot.rule.metric is not RateMetric.REQUESTS)
    slots = tuple(pot for pot in pots if pot.key.kind is PotKind.SLOTS)
    known = ChargedRules(applies, RulePots(index, rates), RulePots(index, later), slots)
    if len(index.rules) >= CHARGED_MAX:
        index.rules.clear()
    index.rules[service, key_uid, key_team] = known
    return known
