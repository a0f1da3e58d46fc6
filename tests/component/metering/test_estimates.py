"""What is said exactly replaces what was estimated, downwards too; what is settled by then stays booked."""

from itertools import permutations

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.pot import PotKind
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.report import Phase, Report
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, UID, with_trial
from tests.harness.metering.two_nodes import booked, granted, two_nodes

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


@pytest.fixture
def fleet() -> Fleet:
    """Two nodes, and a service with plenty of money at a nano a token."""
    return two_nodes()


def records(fleet: Fleet, request_id: str = "r1") -> list[RequestRecord]:
    """The parts of a request, the first first."""
    found = [record for record in fleet.database.requests.values() if record.request_id == request_id]
    return sorted(found, key=lambda record: (record.start_us, record.part))


def begun(fleet: Fleet, node: str = "a", *, input_tokens: int = 100, resume: bytes = b"") -> tuple[Client, int, bytes]:
    """A request that runs there, how far it may go, and the token of its grant."""
    client = Client(fleet[node])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(input_tokens), resume=resume)))
    return client, grant.output_ceiling_tokens, grant.resume


def estimate(output: int, phase: Phase = PROGRESS, *, input_tokens: int = 100, resume: bytes = b"") -> Report:
    return report(phase, counts=Counts(input_tokens, output=output), estimated=True, resume=resume)


def exact(output: int, *, input_tokens: int = 100, resume: bytes = b"") -> Report:
    return report(FINISH, counts=Counts(input_tokens, output=output), want_receipt=True, resume=resume)


def spent(fleet: Fleet) -> int:
    return fleet.control.spent[fleet.control.key(UID, PotKind.MONEY)]


@pytest.mark.parametrize("beyond", [-10, 0, 500])
def test_an_exact_finish_takes_back_what_was_estimated(fleet: Fleet, beyond: int) -> None:
    """Also what was estimated beyond the ceiling: that was no overrun. What was held goes back at once."""
    client, ceiling, _ = begun(fleet)
    client.say(estimate(ceiling + beyond, input_tokens=130))
    client.say(exact(4, input_tokens=90))
    fleet["a"].commit()
    decision = client.said(client.sequence)
    assert decision is not None
    assert decision.receipt is not None
    assert (decision.receipt.usage, decision.receipt.overrun_tokens) == (Counts(90, output=4), 0)
    lease = fleet["a"].node.services[SERVICE].leases[PotKind.MONEY]
    assert (lease.held, lease.booked) == (0, 94)
    assert booked(fleet) == 94
    (record,) = records(fleet)
    assert (record.counts, record.estimated, record.state) == (Counts(90, output=4), False, RequestState.FINISHED)


def test_an_estimated_finish_takes_nothing_back(fleet: Fleet) -> None:
    """Nor is it an estimate where what holds was counted."""
    client, _, _ = begun(fleet)
    client.say(report(PROGRESS, counts=Counts(100, output=9)))
    client.say(estimate(5, FINISH, input_tokens=90))
    assert booked(fleet) == 109
    (record,) = records(fleet)
    assert (record.counts, record.estimated, record.state) == (Counts(100, output=9), False, RequestState.FINISHED)


@pytest.mark.parametrize("order", list(permutations([0, 1, 2, 3])))
def test_the_order_of_reports_changes_nothing(fleet: Fleet, order: tuple[int, ...]) -> None:
    """Of a request that nobody authorised, too: of two exact finishes the greater total is what is recorded."""
    said = [estimate(50), exact(20), estimate(40, FINISH), exact(30)]
    client, _, _ = begun(fleet)
    for number in (*order, *order):
        client.say(said[number])
        fleet.run(ms=200)
    fleet.run(seconds=40)
    (record,) = records(fleet)
    assert (record.counts, record.estimated) == (Counts(100, output=30), False)


def test_a_time_out_settles_estimates_as_last_reported(fleet: Fleet) -> None:
    """And says that they are some."""
    client, _, _ = begun(fleet)
    client.say(estimate(40))
    client.close()
    fleet.run(seconds=40)
    assert booked(fleet) == 140
    (record,) = records(fleet)
    assert (record.estimated, record.state) == (True, RequestState.TIMED_OUT)


@pytest.mark.parametrize("node", ["a", "b"])
@pytest.mark.parametrize("ends", [True, False])
def test_what_was_settled_stays_booked_when_less_is_said_exactly(fleet: Fleet, node: str, *, ends: bool) -> None:
    """Leases only count up. The record has the server's usage, and what comes after that changes nothing any more."""
    client, _, _ = begun(fleet)
    client.say(estimate(40, FINISH if ends else PROGRESS))
    client.close()
    fleet.run(seconds=40)
    late = Client(fleet[node])
    for said in (exact(25), exact(25), estimate(60), report(PROGRESS, counts=Counts(100, output=70))):
        late.say(said)
        fleet.run(ms=400)
        late.hear()
        assert late.durable == late.sequence
        assert spent(fleet) == booked(fleet) == 140
        (record,) = records(fleet)
        assert (record.counts, record.estimated) == (Counts(100, output=25), False)
        assert (record.state, record.receipt.revision) == (RequestState.FINISHED, 2)
    (_, decision), _ = [each for each in late.decisions if each[1].receipt is not None]
    assert decision.receipt is not None
    assert decision.receipt.usage == Counts(100, output=40)
    assert all(cell.request_count for cell in fleet.database.aggregates.values())


def test_more_said_exactly_than_was_settled_is_booked_by_class(fleet: Fleet) -> None:
    """What was booked of one class stays, what is missing of the other one is overrun."""
    client, _, _ = begun(fleet)
    client.say(estimate(40))
    client.close()
    fleet.run(seconds=40)
    Client(fleet["b"]).say(exact(55, input_tokens=90))
    assert booked(fleet) == 155
    (record,) = records(fleet)
    assert (record.counts, record.receipt.usage) == (Counts(90, output=55), Counts(100, output=55))
    assert record.receipt.overrun_tokens == 15


def test_the_same_counts_said_exactly_later_are_no_estimate(fleet: Fleet) -> None:
    """And more that is estimated after that does not hold."""
    client, _, _ = begun(fleet)
    client.say(estimate(40))
    client.close()
    fleet.run(seconds=40)
    Client(fleet["b"]).say(exact(40))
    fleet.run(ms=400)
    Client(fleet["a"]).say(estimate(50))
    assert booked(fleet) == 140
    (record,) = records(fleet)
    assert (record.counts.output, record.estimated, record.state) == (40, False, RequestState.FINISHED)


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("total", ["nothing", "first", "end of the first", "second", "beyond"])
def test_an_exact_finish_clamps_each_part_that_is_not_booked(fleet: Fleet, total: str, *, back: bool) -> None:
    """A part that begins beyond it books nothing, whichever node hears it.

    One that goes beyond all grants waits, though, until the last part is settled, by its estimate.
    """
    client, first_end, token = begun(fleet)
    client.say(estimate(first_end + 30))
    client.close()
    fleet.run(ms=400)
    second, _, _ = begun(fleet, "b", resume=token)
    input_tokens = 100 if total == "beyond" else 120
    grant = granted(second.say(estimate(first_end + 50, input_tokens=input_tokens)))
    second_end, moved = grant.output_ceiling_tokens, grant.resume
    second.say(estimate(second_end - 1, input_tokens=input_tokens))
    output = {
        "nothing": 0,
        "first": 7,
        "end of the first": first_end,
        "second": first_end + 40,
        "beyond": second_end + 9,
    }[total]
    if back:
        second.close()
        fleet.run(ms=400)
        third = Client(fleet["a"])
        third.say(exact(output, resume=moved))
    else:
        second.say(exact(output))
    fleet.run(seconds=100)
    assert booked(fleet) == 100 + output
    assert not any(record.estimated for record in records(fleet)), records(fleet)
    assert max(record.counts.output_class for record in records(fleet)) == output


def test_a_part_waits_for_the_end_where_it_has_estimates_only(fleet: Fleet) -> None:
    """It reached its end by them, but the node that has the request now may hear that it was less."""
    client, ceiling, token = begun(fleet)
    client.say(estimate(ceiling - 1))
    client.close()
    fleet.run(ms=400)
    second, _, _ = begun(fleet, "b", resume=token)
    second.say(estimate(ceiling + 5))
    fleet.run(seconds=100)
    assert spent(fleet) == 0
    second.say(exact(3))
    fleet.run(seconds=40)
    assert booked(fleet) == 103


def test_a_part_that_was_booked_before_leaves_the_others_what_is_left(fleet: Fleet) -> None:
    """The first one has booked its estimate; the finish says less than that, and the second one books nothing."""
    client, ceiling, token = begun(fleet)
    client.say(estimate(ceiling))
    client.close()
    fleet.run(seconds=25)
    second = Client(fleet["b"])
    second.say(report(PROGRESS, counts=Counts(100, output=ceiling + 5), resume=token))
    fleet.run(seconds=10)
    assert spent(fleet) == 100 + ceiling
    second.say(exact(ceiling - 10))
    fleet.run(seconds=40)
    assert booked(fleet) == 100 + ceiling
    assert records(fleet)[-1].counts.output == ceiling - 10
    assert not any(record.estimated for record in records(fleet))


@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_said_exactly_survives_a_crash(restarted: bool) -> None:
    """A finish waits for payers when its node is lost: whoever settles it books that, not what was estimated before."""
    fleet = two_nodes()
    client, ceiling, _ = begun(fleet)
    fleet.run(ms=400)
    fleet.control.reachable = False
    client.say(estimate(ceiling + 900_000))
    fleet.run(ms=400)
    client.say(exact(ceiling + 400_000))
    fleet.run(ms=400)
    (record,) = records(fleet)
    assert (record.state, record.counts.output) == (RequestState.OPEN, ceiling + 400_000)
    assert record.tally.exact
    fleet.crash("a")
    fleet.control.reachable = True
    fleet.start("a")
    fleet.run(seconds=40)
    if restarted:
        fleet.crash("a")
        fleet.start("a")
    Client(fleet["b"]).say(estimate(ceiling + 950_000))
    fleet.run(seconds=40)
    (record,) = records(fleet)
    assert (record.receipt.usage.output, record.estimated) == (ceiling + 400_000, False)


def test_an_estimate_becomes_counted_on_the_fast_road(fleet: Fleet) -> None:
    """A checkpoint has only counts then: they are none of those that its record says are estimated."""
    client, ceiling, _ = begun(fleet)
    client.say(estimate(5))
    fleet.run(ms=400)
    client.say(report(PROGRESS, counts=Counts(100, output=6)))
    for output in range(7, 20):
        client.say(report(PROGRESS, counts=Counts(100, output=output)))
        fleet.run(ms=100)
    fleet.run(ms=400)
    (record,) = records(fleet)
    assert ceiling > 2 * 20
    assert (record.counts.output, record.estimated, record.ranks) == (19, False, ())
    fleet.crash("a")
    fleet.start("a")
    fleet.run(seconds=40)
    (record,) = records(fleet)
    assert (record.receipt.usage.output, record.estimated) == (19, False)


def test_a_trial_gets_back_what_was_only_estimated() -> None:
    """So much that the next request finds all of it."""
    fleet = Fleet("a")
    with_trial(fleet, 1_000)
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.say(estimate(890))
    client.say(exact(1))
    client.say(report(AUTHORIZE, "r2", counts=Counts(880), max_output_tokens=19))
    fleet.run(ms=400)
    assert granted(client.said(client.sequence)).output_ceiling_tokens == 19
