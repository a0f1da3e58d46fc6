"""Who is live and who is lost, by what one process saw, to the microsecond."""

from dataclasses import replace

import pytest

from control_service.domain.node import LIVE_NS, LOST_AFTER_NS, LostNode, registered
from control_service.usecases.fleet.node_liveness import OBSERVATION_GAP_MAX_NS, NodeLiveness
from tallygate._server.clock import ManualClock

NODE = registered(None, "node-a", 1, 0)


@pytest.fixture
def clock() -> ManualClock:
    """Stands still."""
    return ManualClock()


@pytest.fixture
def liveness(clock: ManualClock) -> NodeLiveness:
    """Has seen the node once."""
    liveness = NodeLiveness(clock)
    liveness.observe([NODE])
    return liveness


def pass_time(liveness: NodeLiveness, clock: ManualClock, nanoseconds: int) -> None:
    """So long the node is seen unchanged."""
    while nanoseconds > 0:
        step_ns = min(nanoseconds, OBSERVATION_GAP_MAX_NS)
        clock.advance(us=step_ns // 1_000)
        liveness.observe([NODE])
        nanoseconds -= step_ns


@pytest.mark.parametrize(("silent_ns", "live"), [(0, True), (LIVE_NS - 1_000, True), (LIVE_NS, False)])
def test_a_node_is_live_until_it_was_seen_silent(
    liveness: NodeLiveness, clock: ManualClock, silent_ns: int, *, live: bool
) -> None:
    """For three seconds; and at once again with any sign of life, also one that was not observed yet."""
    pass_time(liveness, clock, silent_ns)
    assert liveness.is_live(NODE) is live
    assert liveness.is_live(replace(NODE, heard_count=2))
    assert liveness.is_live(replace(NODE, epoch=2))


def test_a_node_that_nobody_has_seen_is_live() -> None:
    """A process that has just started knows nothing of anybody."""
    assert NodeLiveness(ManualClock()).is_live(NODE)


@pytest.mark.parametrize(("silent_ns", "suspects"), [(LOST_AFTER_NS - 1_000, []), (LOST_AFTER_NS, ["node-a"])])
def test_a_node_is_suspected_when_its_leases_have_lapsed(
    liveness: NodeLiveness, clock: ManualClock, silent_ns: int, suspects: list[str]
) -> None:
    """Not a microsecond before validity and margin are over."""
    pass_time(liveness, clock, silent_ns)
    assert liveness.suspects() == suspects


def test_a_sign_of_life_that_is_no_exchange_renews_nothing(liveness: NodeLiveness, clock: ManualClock) -> None:
    """A node that gives signs of life, but exchanges nothing, is live and lost."""
    pass_time(liveness, clock, LOST_AFTER_NS)
    liveness.observe([replace(NODE, heard_count=2)])
    assert liveness.is_live(replace(NODE, heard_count=2))
    assert liveness.suspects() == ["node-a"]


def test_a_node_is_lost_as_long_as_it_is_suspected_with_leases(liveness: NodeLiveness, clock: ManualClock) -> None:
    """Settled by the node that took over, it is no suspect any more; nor is it when it exchanges again."""
    pass_time(liveness, clock, LOST_AFTER_NS)
    liveness.mark_lost(["node-a"], ["node-a"])
    assert liveness.lost == (LostNode("node-a", 1),)
    liveness.mark_lost(["node-a"], [])
    assert not liveness.lost
    assert liveness.suspects() == []
    liveness.observe([replace(NODE, exchange_number=1)])
    assert liveness.suspects() == []


def test_a_long_gap_between_looks_counts_as_a_short_one(liveness: NodeLiveness, clock: ManualClock) -> None:
    """A process that did not observe does not know that a node was silent."""
    clock.advance(3_600)
    liveness.observe([NODE])
    assert liveness.is_live(NODE)
    assert liveness.suspects() == []
