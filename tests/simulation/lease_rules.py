"""What leases get ahead of need, and what a node may call contention: watched as it is decided."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from control_service.domain import lease_round
from metering_service.domain.decision import Reason
from metering_service.usecases.leases.lease_keeper import LeaseKeeper
from metering_service.usecases.lookups import parked
from tests.simulation.planting import together

if TYPE_CHECKING:
    from tests.simulation.simulation_harness import World

QUARTER = 4
LEAST_S = 2


@contextmanager
def watched(world: "World") -> Iterator[None]:
    """While a seed runs."""
    with together(_shares_watched(world), _contention_watched(world)):
        yield


def _shares_watched(world: "World") -> Any:
    """No node gets more ahead of need than its part of a quarter, or two seconds of what it burns."""
    real = lease_round.units_ahead  # type: ignore[attr-defined]  # imported there, where a bug may be planted

    def units_ahead(lease: Any, statement: Any, pot: Any, node_count: int) -> int:
        units = real(lease, statement, pot, node_count)
        nodes = 1 if lease.kind.refills else node_count
        most = max(pot.grantable_units // (QUARTER * nodes), LEAST_S * statement.burn_units)
        if units > most:
            world.wrongs.append(f"{lease.kind}: {units} go ahead of need, of {pot.grantable_units} for {nodes} nodes")
        return units

    return patch.object(lease_round, "units_ahead", units_ahead)


@contextmanager
def _contention_watched(world: "World") -> Iterator[None]:
    """A report that waits is told that others have what it lacks only if control has said so meanwhile."""
    confirmed: dict[Any, int] = defaultdict(lambda: -1)
    """By node: when control was asked last for what it then said that others have."""
    real_answered, real_reason = LeaseKeeper.answered, parked._could_not_tell

    def answered(keeper: Any, statements: Any, answers: Sequence[Any], asked_ns: int, valid_for_ns: int) -> None:
        needed = {each.lease_id: each.needed_units for each in statements}
        for answer in answers:
            is_nowhere = answer.available_units <= 0 and not answer.leased_elsewhere_units
            if answer.empty or answer.recalling or (is_nowhere and needed.get(answer.lease_id)):
                confirmed[keeper._node] = max(confirmed[keeper._node], asked_ns)
        real_answered(keeper, statements, answers, asked_ns, valid_for_ns)

    def could_not_tell(node: Any, service: Any, waiter: Any) -> Reason:
        reason = real_reason(node, service, waiter)
        since_ns = waiter.deadline_ns - node.settings.wait_max_ns
        if reason is Reason.BUDGET_CONTENDED and confirmed[node] < since_ns:
            world.wrongs.append(f"{waiter.report.request_id} is told of contention that control has not confirmed")
        return reason

    with together(
        patch.object(LeaseKeeper, "answered", answered), patch.object(parked, "_could_not_tell", could_not_tell)
    ):
        yield
