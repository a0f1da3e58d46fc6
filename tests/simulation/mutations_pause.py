"""Bugs planted in how leases are sized, given back, and told of while control is slow or away."""

from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from control_service.domain import lease_round
from metering_service.domain import lease_demand
from metering_service.domain.decision import Reason
from metering_service.usecases.lookups import parked
from metering_service.usecases.state.waiter import Lookup
from tests.simulation.planting import mutation, mutation_of_calm


@mutation_of_calm
def more_than_the_share_is_granted() -> AbstractContextManager[Any]:
    """Control grants all that a node wants ahead of need, as far as there is any."""

    def units_ahead(lease: Any, statement: Any, pot: Any, _node_count: int) -> Any:
        return max(0, min(statement.wanted_units - lease.free_units, pot.grantable_units, pot.spare_units))

    return patch.object(lease_round, "units_ahead", units_ahead)


@mutation_of_calm
def late_answers_are_called_contention() -> AbstractContextManager[Any]:
    """A report that control did not answer in time is told that others have what it lacks."""

    def could_not_tell(_node: Any, service: Any, waiter: Any) -> Reason:
        if waiter.lookup is Lookup.UNDER_WAY:
            return Reason.STORAGE_UNAVAILABLE
        return Reason.CONTROL_UNREACHABLE if service.config is None else Reason.BUDGET_CONTENDED

    return patch.object(parked, "_could_not_tell", could_not_tell)


@mutation
def nothing_is_given_back() -> AbstractContextManager[Any]:
    """A node keeps what it has on lease, whoever else needs it, until the lease ends."""
    real = lease_demand.LeaseDemand.surplus

    def surplus(self: Any, free: int, now_ns: int, *, idle: bool, closing: bool) -> int:
        return real(self, free, now_ns, idle=idle, closing=closing) if closing else 0

    return patch.object(lease_demand.LeaseDemand, "surplus", surplus)
