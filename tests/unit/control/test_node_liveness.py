"""Who is live and who is lost, by what one process saw, to the microsecond."""

from dataclasses import replace

import pytest

from control_service.domain.node import LIVE_NS, LOST_AFTER_NS, LostNode, registered
from control_service.usecases.fleet.node_liveness import LOOK_GAP_MAX_NS, Sightings
from tallygate._server.clock import ManualClock

NODE = registered(None, "node-a", 1, 0)


@pytest.fixture
def clock() -> ManualClock:
    """Stands still."""
    return ManualClock()


@pytest.fixture
def sightings(clock: ManualClock) -> Sightings:
    """Has seen the node once."""
    sightings = Sightings(clock)
    sightings.look([NODE])
    return sightings


def pass_time(sightings: Sightings, clock: ManualClock, nanoseconds: int) -> None:
    """So long the node is seen unchanged."""
    while nanoseconds > 0:
        step_ns = min(nanoseconds, LOOK_GAP_MAX_NS)
        clock.advance(us=step_ns // 1_000)
        sightings.look([NODE])
        nanoseconds -= step_ns


@pytest.mark.parametrize(("silent_ns", "live"), [(0, True), (LIVE_NS - 1_000, True), (LIVE_NS, False)])
def test_a_node_is_live_until_it_was_seen_silent(
    sightings: Sightings, clock: ManualClock, silent_ns: int, *, live: bool
) -> None:
    """For three seconds; and at once again with any sign of life, also one that nobody has looked at yet."""
    pass_time(sightings, clock, silent_ns)
    assert sightings.is_live(NODE) is live
    assert sightings.is_live(replace(NODE, heard_count=2))
    assert sightings.is_live(replace(NODE, epoch=2))


def test_a_node_that_nobody_has_seen_is_live() -> None:
    """A process that has just started knows nothing of anybody."""
    assert Sightings(ManualClock()).is_live(NODE)


@pytest.mark.parametrize(("silent_ns", "suspects"), [(LOST_AFTER_NS - 1_000, []), (LOST_AFTER_NS, ["node-a"])])
def test_a_node_is_suspected_when_its_leases_have_lapsed(
    sightings: Sightings, clock: ManualClock, silent_ns: int, suspects: list[str]
) -> None:
    """Not a microsecond before validity and margin are over."""
    pass_time(sightings, clock, silent_ns)
    assert sightings.suspects() == suspects


def test_a_sign_of_life_that_is_no_exchange_renews_nothing(sightings: Sightings, clock: ManualClock) -> None:
    """A node that is heard from, but exchanges nothing, is live and lost."""
    pass_time(sightings, clock, LOST_AFTER_NS)
    sightings.look([replace(NODE, heard_count=2)])
    assert sightings.is_live(replace(NODE, heard_count=2))
    assert sightings.suspects() == ["node-a"]


def test_a_node_is_lost_as_long_as_it_is_suspected_with_leases(sightings: Sightings, clock: ManualClock) -> None:
    """Settled by whoever took it over, it is not looked at again; back with an exchange, it is no suspect."""
    pass_time(sightings, clock, LOST_AFTER_NS)
    sightings.convict(["node-a"], ["node-a"])
    assert sightings.lost == (LostNode("node-a", 1),)
    sightings.convict(["node-a"], [])
    assert not sightings.lost
    assert sightings.suspects() == []
    sightings.look([replace(NODE, exchange_number=1)])
    assert sightings.suspects() == []


def test_a_long_gap_between_looks_counts_as_a_short_one(sightings: Sightings, clock: ManualClock) -> None:
    """Whoever did not look cannot say that a node was silent."""
    clock.advance(3_600)
    sightings.look([NODE])
    assert sightings.is_live(NODE)
    assert sightings.suspects() == []
