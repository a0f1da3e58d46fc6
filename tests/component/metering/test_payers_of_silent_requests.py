"""Silent requests that used more than they hold: payers are asked, once a second by the node's housekeeping."""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.report import Phase
from metering_service.usecases.lookups.parked import expire
from metering_service.usecases.reports.timeouts import check_silent
from tests.harness.metering.immediate import now
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import with_money, with_reservation, with_trial
from tests.harness.metering.two_nodes import granted

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
BEAT_MS = 20


def run(fleet: Fleet, seconds: int, *, house_ms: int = 1_000, exchange_ms: int = 200) -> None:
    """Let time pass as it does for a real node: most of its work in milliseconds, its housekeeping each second."""
    for elapsed_ms in range(0, seconds * 1_000, BEAT_MS):
        fleet.clock.advance(us=BEAT_MS * 1_000)
        fleet.control.sweep()
        for rig in fleet.rigs.values():
            rig.pump()
            expire(rig.node)
            if elapsed_ms % house_ms < BEAT_MS:
                check_silent(rig.node)
                now(rig.recovery.book_left())
            rig.look()
            if elapsed_ms % exchange_ms < BEAT_MS:
                rig.exchange_leases()
            rig.pump()
            rig.commit()


def record(fleet: Fleet) -> RequestRecord:
    """The only one there is."""
    (only,) = fleet.database.requests.values()
    return only


def goes_beyond_its_grant(fleet: Fleet, output_tokens: int) -> None:
    """While control is away a server reports that much more than it was granted, and is gone; then control is back."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, counts=Counts(10)))
    run(fleet, 1)
    ceiling = granted(client.said(1)).output_ceiling_tokens
    fleet.control.reachable = False
    client.say(report(PROGRESS, counts=Counts(10, output=ceiling + output_tokens)))
    client.close()
    run(fleet, 2)
    fleet.control.reachable = True


@pytest.mark.parametrize("excess", [1, 100, 200_000])
def test_a_rate_pays_for_what_a_silent_request_used_beyond_its_grant(excess: int) -> None:
    """Units of a rate that nobody takes go back within half a second: whoever asked for them is looked at before that.

    What the rate does not have at any moment is not waited for: the request is settled, and the rest is unfunded.
    """
    fleet = Fleet()
    with_reservation(fleet, 60_000)
    goes_beyond_its_grant(fleet, excess)
    run(fleet, 60)
    settled = record(fleet)
    assert settled.state is RequestState.TIMED_OUT
    if excess <= 100:
        assert settled.receipt.unfunded.total == 0
    assert all(
        lease.held == 0 for service in fleet["a"].node.lease_index.holders.values() for lease in service.all_leases()
    )


@pytest.mark.parametrize("make", [with_money, with_trial])
@pytest.mark.parametrize("has_enough", [True, False])
def test_housekeeping_that_comes_late_settles_silent_requests_all_the_same(make: object, *, has_enough: bool) -> None:
    """That a pot is empty is good for a second, too: it is used as soon as control has said it."""
    fleet = Fleet()
    assert callable(make)
    make(fleet, 10**6 if has_enough else 20_000)
    goes_beyond_its_grant(fleet, 50_000)
    run(fleet, 60, house_ms=1_040, exchange_ms=BEAT_MS)
    settled = record(fleet)
    assert settled.state is RequestState.TIMED_OUT
    if has_enough:
        assert (settled.receipt.unfunded.total, settled.receipt.debt_nanos) == (0, 0)


def test_a_rate_pays_for_what_is_found_at_a_second_look() -> None:
    """All servers keep to their grants: a part times out in the moment in which another node ends the request."""
    fleet = Fleet("a", "b")
    with_reservation(fleet, 60_000)
    first = Client(fleet["a"])
    first.say(report(AUTHORIZE, counts=Counts(10)))
    run(fleet, 1)
    first.say(report(PROGRESS, counts=Counts(10, output=2)))
    run(fleet, 1)
    first.close()
    run(fleet, 29)
    fleet.clock.advance(us=1_500_000)
    a, b = fleet["a"], fleet["b"]
    check_silent(a.node)
    a.look()
    second, resume = Client(b), granted(first.said(1)).resume
    for phase, output in ((AUTHORIZE, 2), (FINISH, 50)):
        second.say(report(phase, counts=Counts(10, output=output), resume=resume))
        b.pump()
    a.commit()
    b.commit()
    run(fleet, 60)
    receipts = [each.receipt for each in fleet.database.requests.values()]
    assert sum(receipt.reserved.total for receipt in receipts) == 60
    assert not a.node.silent


def test_a_silent_request_does_not_wait_for_payers_for_ever() -> None:
    """The database answers later each time than it is known that the rate has nothing."""
    fleet = Fleet()
    with_reservation(fleet, 60_000)
    goes_beyond_its_grant(fleet, 200_000)
    fleet.clock.advance(us=30_000_000)
    rig = fleet["a"]
    rig.exchange_leases()
    for _ in range(80):
        fleet.clock.advance(us=100_000)
        check_silent(rig.node)
        rig.look()
        rig.exchange_leases()
        rig.commit()
    assert record(fleet).state is RequestState.TIMED_OUT


def test_a_request_that_is_spoken_of_again_waits_for_payers_anew() -> None:
    """By a stream that breaks at once; when it is silent for long again, they have as much time as before."""
    fleet = Fleet()
    with_reservation(fleet, 60_000)
    goes_beyond_its_grant(fleet, 20_000)
    rig = fleet["a"]
    run(fleet, 27)
    fleet.clock.advance(us=1_500_000)
    rig.exchange_leases()
    check_silent(rig.node)
    rig.look()
    assert rig.node.unpaid
    rig.linked = False
    again = Client(rig)
    again.send(report(PROGRESS, counts=record(fleet).counts))
    again.close()
    run(fleet, 2)
    rig.linked = True
    run(fleet, 70)
    settled = record(fleet)
    assert settled.state is RequestState.TIMED_OUT
    assert settled.receipt.unfunded.total == 0
