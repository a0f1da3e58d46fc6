"""What a statement changes, and how much more a lease may have."""

import pytest

from control_service.domain.lease import (
    Lease,
    Statement,
    extend,
    may_have_more,
    merge_statement,
    units_for_need,
)
from control_service.domain.pot import PotKind
from control_service.domain.recall import Availability, judge_shortfall

NOW_US = 1_700_000_000_000_000


def lease(
    lease_id: str = "one",
    *,
    granted: int = 0,
    consumed: int = 0,
    returned: int = 0,
    held: int = 0,
    closed: bool = False,
    recalled_us: int | None = None,
) -> Lease:
    """A trial lease with the counters that matter to a test."""
    return Lease(
        lease_id=lease_id,
        node="node-a",
        epoch=1,
        account="acme",
        service_uid="uid",
        kind=PotKind.TRIAL,
        create_us=NOW_US,
        update_us=NOW_US,
        granted_units=granted,
        consumed_units=consumed,
        returned_units=returned,
        held_units=held,
        closed=closed,
        recall_requested_us=recalled_us,
    )


def test_consumption_and_returns_come_off_lease() -> None:
    """What is consumed is spent, what is returned comes back, both are outstanding no more."""
    effect = merge_statement(
        lease(granted=100), Statement("one", consumed_units=30, returned_units=20, held_units=10), NOW_US
    )
    assert (effect.spent_units, effect.released_units, effect.came_back_units) == (30, 50, 20)
    assert (effect.lease.outstanding_units, effect.lease.free_units) == (50, 40)


def test_an_older_statement_changes_no_counter() -> None:
    """Counters merge by maximum."""
    before = lease(granted=100, consumed=30, returned=20)
    effect = merge_statement(before, Statement("one", consumed_units=10, returned_units=0), NOW_US)
    assert (effect.spent_units, effect.released_units) == (0, 0)


def test_late_consumption_on_a_closed_lease_counts() -> None:
    """A closed lease has nothing outstanding, but what was consumed on it is spent."""
    closed = merge_statement(lease(granted=100, consumed=30), Statement("one", closing=True), NOW_US).lease
    effect = merge_statement(closed, Statement("one", consumed_units=45, held_units=7), NOW_US)
    assert (effect.spent_units, effect.released_units) == (15, 0)
    assert effect.lease.closed
    assert (effect.lease.outstanding_units, effect.lease.held_units) == (0, 0)


def test_closing_returns_what_is_not_consumed() -> None:
    """The last word on a lease gives back all the rest."""
    effect = merge_statement(lease(granted=100, held=80), Statement("one", consumed_units=60, closing=True), NOW_US)
    assert (effect.spent_units, effect.released_units, effect.came_back_units) == (60, 100, 40)
    assert effect.lease.closed


def test_a_debt_is_not_paid_from_the_next_grant() -> None:
    """A lease that consumed more than it was granted has all of the next grant free."""
    effect = merge_statement(lease(granted=100), Statement("one", consumed_units=150), NOW_US)
    assert (effect.spent_units, effect.released_units, effect.came_back_units) == (150, 100, 0)
    assert extend(effect.lease, 40).free_units == 40


@pytest.mark.parametrize(("needed", "grantable", "units"), [(0, 1_000, 0), (60, 40, 40), (60, 1_000, 60)])
def test_needs_may_take_all(needed: int, grantable: int, units: int) -> None:
    """What requests wait for goes before what nodes want ahead of need."""
    assert units_for_need(lease(), Statement("one", wanted_units=100, needed_units=needed), grantable) == units


def test_a_recalled_lease_gets_only_what_requests_wait_for() -> None:
    """A node whose lease was recalled is granted no more ahead of need."""
    recalled = lease(granted=100, recalled_us=NOW_US)
    assert not may_have_more(recalled, Statement("one", wanted_units=200))
    assert may_have_more(recalled, Statement("one", needed_units=200))


def test_a_recall_is_over_when_the_free_part_is_back() -> None:
    """A node answers a recall by returning what is free."""
    effect = merge_statement(
        lease(granted=100, recalled_us=NOW_US), Statement("one", returned_units=40, held_units=60), NOW_US + 1
    )
    assert effect.lease.recall_requested_us is None


def test_a_recall_that_crossed_a_statement_stands() -> None:
    """A statement that left before the recall arrived is no answer to it."""
    recalled = lease(granted=100, recalled_us=NOW_US)
    effect = merge_statement(recalled, Statement("one", held_units=60), NOW_US + 1, recall_waits=True)
    assert effect.lease.recall_requested_us == NOW_US


def test_a_node_that_spoke_without_returning_may_be_asked_again() -> None:
    """After the patience for a recall is over, a statement that keeps the free units clears it."""
    effect = merge_statement(lease(granted=100, recalled_us=NOW_US), Statement("one", held_units=60), NOW_US + 1)
    assert effect.lease.recall_requested_us is None


def test_free_parts_elsewhere_are_recalled_once() -> None:
    """Free units elsewhere are recalled; for those recalled already, the return is awaited."""
    others = [lease("fresh", granted=10), lease("recalled", granted=10, recalled_us=NOW_US - 1)]
    shortfall = judge_shortfall(lease(granted=5), 6, others)
    assert shortfall.availability is Availability.RECALLING
    assert shortfall.recalled_lease_ids == ("fresh",)


def test_nothing_to_recall_is_empty() -> None:
    """A lease does not count as another's."""
    assert judge_shortfall(lease(), 1, [lease()]).availability is Availability.EMPTY


def test_a_need_that_is_met_is_available() -> None:
    """Where nothing is missing nothing is recalled."""
    shortfall = judge_shortfall(lease(granted=5), 5, [lease("fresh", granted=10)])
    assert (shortfall.availability, shortfall.recalled_lease_ids) == (Availability.AVAILABLE, ())
