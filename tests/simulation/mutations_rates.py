"""Bugs planted in rate rules: what nodes have of them together, and how slots come back."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from control_service.domain.node import RESUME_WINDOW_NS
from control_service.domain.rate_pot import RatePot
from control_service.usecases.fleet.node_liveness import NodeLiveness
from metering_service.domain import rate_gate
from metering_service.domain.rate_charges import RateCharges
from metering_service.usecases.reports import rules
from tests.simulation.planting import mutation_of_limits


@mutation_of_limits
def each_node_has_the_whole_rate() -> AbstractContextManager[Any]:
    """What one node has on lease of a rate is there for all others as well."""
    return patch.object(RatePot, "lent", lambda self, units: replace(self, leased_units=self.leased_units + units))


@mutation_of_limits
def slots_do_not_come_back() -> AbstractContextManager[Any]:
    """A request keeps its slot when it has ended."""
    return patch.object(RateCharges, "pass_on_slots", lambda _self: None)


@mutation_of_limits
def slots_are_said_to_stay_away_too_long() -> AbstractContextManager[Any]:
    """Control names a moment long after the slots of a silent node are there."""
    real = NodeLiveness.returns_after_us

    def returns_after_us(liveness: NodeLiveness, node: Any, epoch: int) -> int | None:
        after_us = real(liveness, node, epoch)
        return None if after_us is None else after_us + RESUME_WINDOW_NS // 1_000

    return patch.object(NodeLiveness, "returns_after_us", returns_after_us)


@mutation_of_limits
def refusal_burns_other_limits() -> AbstractContextManager[Any]:
    """Each rule that has enough is charged before all others were asked."""

    def lacks(charges: Any, tokens: Any) -> Any:
        found = rate_gate.lacks(charges, tokens)
        short = {id(lack.lease) for lack in found}
        for lease in charges.enforced if found else ():
            if id(lease) not in short:
                lease.hold(lease.rule.units(*tokens), 0)
        return found

    return patch.object(rules, "lacks", lacks)
