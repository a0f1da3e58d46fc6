"""How much a node may have ahead of need."""

import pytest

from control_service.domain.lease import Lease, Statement
from control_service.domain.lease_share import units_ahead
from control_service.domain.pot import PotKind, Quantity


def lease(kind: PotKind = PotKind.TRIAL, free_units: int = 0) -> Lease:
    """A lease on a pot, with nothing held."""
    return Lease("one", "node-a", 1, "acme", "uid", kind, 0, 0, granted_units=free_units)


@pytest.mark.parametrize(
    ("wanted", "free", "grantable", "floor", "node_count", "units"),
    [
        (100, 0, 1_000, 0, 1, 100),
        (100, 0, 200, 0, 1, 50),
        (100, 30, 200, 0, 1, 50),
        (100, 0, 1_200, 0, 3, 100),
        (100, 0, 600, 0, 3, 50),
        (100, 0, 200, 170, 1, 30),
        (100, 0, 0, 0, 1, 0),
        (100, 100, 1_000, 0, 1, 0),
        (100, 400, 1_000, 0, 1, 0),
    ],
)
def test_all_nodes_together_get_a_quarter(
    wanted: int, free: int, grantable: int, *, floor: int, node_count: int, units: int
) -> None:
    """At a time; below the floor nobody could have it, so none of it goes ahead of need."""
    pot = Quantity(grantable + free, leased_units=free, spent_units=0, floor_units=floor)
    statement = Statement("one", wanted_units=wanted)
    assert units_ahead(lease(free_units=free), statement, pot, node_count) == units


@pytest.mark.parametrize(("grantable", "units"), [(10_000, 100), (200, 20), (15, 15)])
def test_two_seconds_of_burn_are_granted_while_there_is_as_much(grantable: int, units: int) -> None:
    """However many nodes there are: a node that works is not to ask for each request."""
    statement = Statement("one", wanted_units=100, burn_units=10)
    assert units_ahead(lease(), statement, Quantity(grantable, 0, 0), 10) == units


@pytest.mark.parametrize("kind", [PotKind.RATE, PotKind.SLOTS, PotKind.RESERVATION_OUTPUT])
def test_what_refills_goes_by_quarters(kind: PotKind) -> None:
    """There a node wants little, and what it does not get now it gets soon."""
    statement = Statement("one", wanted_units=100)
    assert units_ahead(lease(kind), statement, Quantity(200, 0, 0), 3) == 50
