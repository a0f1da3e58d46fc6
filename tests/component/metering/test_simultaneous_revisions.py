"""Two nodes act on one request within one commit's time, and neither sees what the other does."""

from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.errors import RevisedElsewhereError
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.report import Phase
from metering_service.usecases.reports.finish import forget_finished
from metering_service.usecases.reports.timeouts import check_silent
from tests.harness.metering.immediate import now
from tests.harness.metering.node_harness import Client, Fleet, Rig, report
from tests.harness.metering.two_nodes import booked, granted, two_nodes, unwritten_successor

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


@pytest.fixture
def fleet() -> Fleet:
    """Two nodes, and a service with plenty of money at a nano a token."""
    return two_nodes()


def silent_until_now(fleet: Fleet) -> bytes:
    """A request of node a whose resume window ends at this moment, with two tokens reported; the token of its grant."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.say(report(PROGRESS, counts=Counts(100, output=2)))
    client.close()
    fleet.run(seconds=29, ms=740)
    fleet.clock.advance(us=400_000)
    return grant.resume


@pytest.mark.parametrize("phases", [(FINISH,), (AUTHORIZE, FINISH), (PROGRESS, FINISH)])
def test_a_part_that_times_out_while_another_node_goes_on_is_filled(fleet: Fleet, phases: tuple[Phase, ...]) -> None:
    """Its node found no other part, the other node found it open."""
    resume = silent_until_now(fleet)
    second = Client(fleet["b"])
    for phase in phases:
        second.say(report(phase, counts=Counts(100, output=50), resume=resume))
    fleet.run(seconds=40)
    assert booked(fleet) == 150


@pytest.mark.parametrize("finishes", [True, False])
@pytest.mark.parametrize("ends_at_once", [True, False])
def test_a_part_whose_settlement_is_committed_late_is_filled(
    fleet: Fleet, *, finishes: bool, ends_at_once: bool
) -> None:
    """Meanwhile the other node has written its own part, and has looked at what there is before it."""
    resume = silent_until_now(fleet)
    a, b = fleet["a"], fleet["b"]
    check_silent(a.node)
    a.look()
    second = Client(b)
    second.say(report(PROGRESS, counts=Counts(100, output=3), resume=resume))
    b.commit()
    if ends_at_once:
        second.say(report(FINISH if finishes else PROGRESS, counts=Counts(100, output=200)))
    a.commit()
    fleet.run(seconds=50)
    second.say(report(FINISH if finishes else PROGRESS, counts=Counts(100, output=200)))
    second.close()
    fleet.run(seconds=70)
    assert booked(fleet) == 300


@pytest.mark.parametrize("phases", [(FINISH,), (AUTHORIZE, FINISH)])
@pytest.mark.parametrize("is_booked_first", [True, False])
def test_a_lost_nodes_part_that_is_booked_while_another_node_goes_on_is_filled(
    fleet: Fleet, phases: tuple[Phase, ...], *, is_booked_first: bool
) -> None:
    """Whoever books it finds no other part, the other node finds it open."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.say(report(PROGRESS, counts=Counts(100, output=2)))
    fleet.run(ms=400)
    a, b = start_again(fleet, "a"), fleet["b"]
    if is_booked_first:
        now(a.recovery.book_left())
    second = Client(b)
    for phase in phases:
        second.say(report(phase, counts=Counts(100, output=50), resume=grant.resume))
    if not is_booked_first:
        now(a.recovery.book_left())
    a.commit()
    b.commit()
    assert a.recovery.has_rechecks
    fleet.run(seconds=40)
    assert not a.recovery.has_rechecks
    assert booked(fleet) == 150


def times_out_while_it_ends(fleet: Fleet, *, starts_again_before: bool) -> Rig:
    """A part of node a times out, or an earlier epoch's, in the moment in which node b ends the request; node a."""
    resume = silent_until_now(fleet)
    a, b = fleet["a"], fleet["b"]
    if starts_again_before:
        a = start_again(fleet, "a")
        now(a.recovery.book_left())
    else:
        check_silent(a.node)
        a.look()
    second = Client(b)
    second.say(report(AUTHORIZE, counts=Counts(100, output=5), resume=resume))
    second.say(report(FINISH, counts=Counts(100, output=50), resume=resume))
    a.commit()
    b.commit()
    return a


@pytest.mark.parametrize("starts_again_before", [True, False])
def test_a_part_is_filled_also_where_its_node_is_lost_before_it_looks_again(
    fleet: Fleet, *, starts_again_before: bool
) -> None:
    """That it was to be looked at is known from the records: the next epoch does, and so does the one after."""
    times_out_while_it_ends(fleet, starts_again_before=starts_again_before)
    fleet.crash("a")
    fleet.start("a")
    fleet.run(seconds=10)
    fleet.crash("a")
    a = fleet.start("a")
    assert a.recovery.has_rechecks
    fleet.run(seconds=40)
    assert not a.recovery.has_rechecks
    assert booked(fleet) == 150


@pytest.mark.parametrize("starts_again_before", [True, False])
def test_a_part_is_filled_also_where_its_node_leaves_for_good(fleet: Fleet, *, starts_again_before: bool) -> None:
    """Others see that it is not settled, and look in its stead."""
    a = times_out_while_it_ends(fleet, starts_again_before=starts_again_before)
    a.shut_down()
    fleet.crash("a")
    assert [each.node for each in now(fleet.database.unsettled_nodes("b"))] == ["a"]
    fleet.start("a")
    fleet.run(seconds=31)
    assert booked(fleet) == 150
    assert now(fleet.database.unsettled_nodes("b")) == []


def test_several_unfilled_parts_of_one_request_are_filled_one_after_the_other(fleet: Fleet) -> None:
    """One look books all parts of a line: a second one in the same commit would revise what is not there yet."""
    silent_until_now(fleet)
    fleet.run(seconds=31)
    (first,) = (record for record in fleet.database.requests.values() if record.request_id == "r1")
    second = goes_on_from(first, "p2", begin=1_000, output=1_002)
    last = goes_on_from(second, "p3", begin=1_500, output=1_600)._replace(node="b", state=RequestState.FINISHED)
    fleet.database.requests.update({(part.service, "r1", part.part): part for part in (second, last)})
    fleet.database.rechecks = {("a", 1, (part.service, "r1", part.part)) for part in (first, second)}
    fleet.crash("a")
    fleet.start("a")
    fleet.run(seconds=70)
    outputs = {part.part: part.counts.output for part in fleet.database.requests.values() if part.request_id == "r1"}
    assert outputs == {first.part: 1_000, "p2": 1_500, "p3": 1_600}


def test_what_is_booked_of_a_part_twice_after_its_leases_are_closed_is_consumed_twice(fleet: Fleet) -> None:
    """Consumption on a lease is the most that was ever said of it, so each booking has a lease of its own."""
    silent_until_now(fleet)
    fleet.run(seconds=31)
    records = fleet.database.requests
    (first,) = (record for record in records.values() if record.request_id == "r1")
    for begin in (1_000, 1_200):
        later = goes_on_from(first, "p2", begin=begin, output=begin)
        records[later.service, "r1", "p2"] = later._replace(node="b", state=RequestState.FINISHED)
        fleet.database.rechecks = {("a", 1, (first.service, "r1", first.part))}
        fleet.crash("a")
        fleet.start("a")
        fleet.run(seconds=40)
    booked_nanos = sum(record.receipt.cost_nanos for record in records.values())
    assert booked_nanos == 100 + 1_200
    assert sum(lease.consumed_units for lease in fleet.database.leases.values()) == booked_nanos


def goes_on_from(before: RequestRecord, part: str, *, begin: int, output: int) -> RequestRecord:
    """A part of the same node that timed out, too."""
    usage = Counts(output=output - begin)
    return before._replace(
        part=part,
        predecessor_part=before.part,
        base_input_tokens=100,
        base_output_tokens=begin,
        counts=Counts(100, output=output),
        receipt=before.receipt._replace(usage=usage, billed=usage, cost_nanos=usage.total),
    )


@pytest.mark.parametrize("is_booked_first", [True, False])
@pytest.mark.parametrize("more", [0, 20])
def test_one_node_revises_a_part_twice_from_the_same_record(fleet: Fleet, more: int, *, is_booked_first: bool) -> None:
    """For an earlier epoch's part and for a finish, in one commit: that is refused as if two nodes had done it."""
    fleet.start("c")
    _, moved = unwritten_successor(fleet)
    counts = Counts(100, output=50)
    Client(fleet["c"]).say(report(PROGRESS, counts=counts, resume=moved.resume))
    fleet.run(ms=400)
    finish = report(FINISH, counts=counts._replace(output=50 + more), resume=moved.resume)
    c = start_again(fleet, "c")
    if is_booked_first:
        now(c.recovery.book_left())
    Client(c).say(finish)
    if not is_booked_first:
        now(c.recovery.book_left())
    with pytest.raises(RevisedElsewhereError, match="r1 of accounts/acme/services/chat is of revision 1, not 2:"):
        c.commit()
    fleet.crash("c")
    fleet.start("c")
    Client(fleet["c"]).say(finish)
    fleet.start("b")
    fleet.run(seconds=100)
    assert booked(fleet) == 150 + more


def test_a_second_look_does_not_hide_a_request_that_was_begun_anew(fleet: Fleet) -> None:
    """The id was used again, after it was forgotten here; what repeats its finish is a repeat."""
    resume = silent_until_now(fleet)
    a, b = fleet["a"], fleet["b"]
    Client(b).say(report(FINISH, counts=Counts(100, output=50), resume=resume))
    fleet.run(seconds=1)
    a.node.settings = replace(a.node.settings, finished_kept_max=0)
    forget_finished(a.node)
    a.node.settings = fleet.settings
    anew = Client(a)
    anew.say(report(AUTHORIZE, counts=Counts(10)))
    for _ in range(2):
        anew.say(report(FINISH, counts=Counts(10, output=200)))
        fleet.run(seconds=40)
    assert booked(fleet) == 150 + 210


def start_again(fleet: Fleet, name: str) -> Rig:
    """A node comes back after a crash, and has come to the moment at which it books what it had left."""
    fleet.crash(name)
    rig = fleet.start(name)
    fleet.run(seconds=29, ms=900)
    fleet.clock.advance(us=200_000)
    return rig
