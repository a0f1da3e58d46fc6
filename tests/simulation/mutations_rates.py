"""Bugs planted in rate rules: what nodes have of them together, and how slots come back."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from control_service.domain.rate_pot import RatePot
from metering_service.domain.rate_charges import RateCharges
from tests.simulation.planting import mutation_of_limits


@mutation_of_limits
def each_node_has_the_whole_rate() -> AbstractContextManager[Any]:
    """What one node has on lease of a rate is there for all others as well."""
    return patch.object(RatePot, "lent", lambda self, units: replace(self, leased_units=self.leased_units + units))


@mutation_of_limits
def slots_do_not_come_back() -> AbstractContextManager[Any]:
    """A request keeps its slot when it has ended."""
    return patch.object(RateCharges, "pass_on_slots", lambda _self: None)
