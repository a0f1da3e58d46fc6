"""Who is live and who is lost, by what one process saw, to the microsecond."""

from dataclasses import replace

import pytest

from control_service.domain.node import LIVE_NS, LOST_AFTER_NS, LostNode, Node, registered
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


SECOND_US = 1_000_000
KEPT_US = 29_500_000


def after(liveness: NodeLiveness, clock: ManualClock, *rows: Node, seconds: int) -> NodeLiveness:
    """So long these rows are what is read, twice a second."""
    for _ in range(2 * seconds):
        clock.advance(us=SECOND_US // 2)
        liveness.observe(rows)
    return liveness


def test_leases_of_a_silent_node_come_back_a_window_after_it_was_heard(
    liveness: NodeLiveness, clock: ManualClock
) -> None:
    """Nothing is said of a live one. What came between two looks may have come right after the first."""
    heard = replace(NODE, heard_count=2)
    assert after(liveness, clock, heard, seconds=3).returns_after_us(heard, 1) is None
    clock.advance(us=SECOND_US // 2)
    liveness.observe([heard])
    assert liveness.returns_after_us(heard, 1) == 30_000_000 - 3_500_000
    assert liveness.returns_after_us(replace(heard, heard_count=3), 1) is None
    assert after(liveness, clock, heard, seconds=26).returns_after_us(heard, 1) == SECOND_US // 2
    assert after(liveness, clock, heard, seconds=9).returns_after_us(heard, 1) == 0


def test_leases_of_an_earlier_epoch_come_back_when_its_next_one_has_said(
    liveness: NodeLiveness, clock: ManualClock
) -> None:
    """Whether the new one is live or not; its own may come back at any moment."""
    clock.advance(us=SECOND_US // 2)
    new = registered(NODE, "node-a", 2, 0, KEPT_US)
    assert liveness.returns_after_us(new, 1) is None
    liveness.observe([new])
    assert liveness.returns_after_us(new, 1) == KEPT_US - SECOND_US // 2
    assert liveness.returns_after_us(new, 2) is None
    heard = new
    for _ in range(10):
        heard = registered(heard, "node-a", 2, 0, 1)
        after(liveness, clock, heard, seconds=1)
    assert liveness.returns_after_us(heard, 1) == KEPT_US - 10_500_000
    assert after(liveness, clock, heard, seconds=20).returns_after_us(heard, 1) == 30_000_000 - 21_000_000


def test_a_process_that_has_just_started_does_not_know_when_leases_come_back(
    liveness: NodeLiveness, clock: ManualClock
) -> None:
    """When a node was heard last, or its epoch began, was before; of a node that came since it knows."""
    new, old = replace(NODE, epoch=2, leases_kept_us=KEPT_US), NODE
    assert after(liveness, clock, old, seconds=5).returns_after_us(old, 1) is None
    fresh = NodeLiveness(clock)
    assert after(fresh, clock, new, seconds=5).returns_after_us(new, 1) is None
    other = replace(new, name="node-b")
    after(fresh, clock, new, other, seconds=1)
    assert fresh.returns_after_us(other, 1) == KEPT_US - SECOND_US
    assert fresh.returns_after_us(replace(other, name="node-c"), 1) is None


def test_an_epoch_that_says_nothing_promises_nothing(liveness: NodeLiveness, clock: ManualClock) -> None:
    """As nodes did before there was a word for it."""
    new = registered(NODE, "node-a", 2, 0)
    after(liveness, clock, new, seconds=1)
    assert liveness.returns_after_us(new, 1) is None
