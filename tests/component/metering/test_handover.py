"""Streams that break, requests that move, nodes that crash or leave: every token is booked once."""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.pot import PotKind
from metering_service.domain.receipt import Receipt
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.report import Phase
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, UID
from tests.harness.metering.two_nodes import BALANCE, booked, granted, two_nodes

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


@pytest.fixture
def fleet() -> Fleet:
    """Two nodes, and a service with plenty of money at a nano a token."""
    return two_nodes()


def receipt_of(client: Client, sequence: int) -> Receipt:
    client.rig.commit()
    decision = client.said(sequence)
    assert decision is not None
    assert decision.receipt is not None
    return decision.receipt


def part(record: RequestRecord) -> str:
    return record.part


def test_a_stream_that_breaks_is_resumed_on_the_same_node(fleet: Fleet) -> None:
    """Within the window the request goes on as if nothing had happened."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    first.say(report(PROGRESS, counts=Counts(100, output=4)))
    first.close()
    fleet.run(seconds=20)
    second = Client(fleet["a"])
    second.say(report(PROGRESS, counts=Counts(100, output=6), resume=grant.resume))
    fleet.run(seconds=40)
    second.say(report(FINISH, counts=Counts(100, output=8), want_receipt=True))
    assert receipt_of(second, 2).overrun_tokens == 0
    assert booked(fleet) == 108


def test_a_stream_that_is_quiet_keeps_its_requests_open(fleet: Fleet) -> None:
    """However long nothing is said of them."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, counts=Counts(100)))
    fleet.run(seconds=90)
    assert "r1" in fleet["a"].node.services[SERVICE].open
    client.say(report(FINISH, counts=Counts(100, output=1)))
    assert booked(fleet) == 101


def test_after_the_window_a_request_is_settled_at_its_last_counts(fleet: Fleet) -> None:
    """What it held comes back. Whoever reports progress later is told to stop; larger counts are overrun."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.say(report(PROGRESS, counts=Counts(100, output=4)))
    client.close()
    fleet.run(seconds=29)
    assert "r1" in fleet["a"].node.services[SERVICE].open
    fleet.run(seconds=2)
    (record,) = [record for record in fleet.database.requests.values() if record.request_id == "r1"]
    assert (record.state, record.receipt.usage, record.receipt.overrun_tokens) == (
        RequestState.TIMED_OUT,
        Counts(100, output=4),
        0,
    )
    late = Client(fleet["a"])
    decision = late.say(report(PROGRESS, counts=Counts(100, output=7), resume=grant.resume))
    assert decision is not None
    assert decision.reason is Reason.REQUEST_ID_REUSED
    late.say(report(FINISH, counts=Counts(100, output=9), want_receipt=True))
    receipt = receipt_of(late, 2)
    assert (receipt.usage.output, receipt.overrun_tokens, receipt.revision) == (9, 5, 3)
    assert booked(fleet) == 109


def test_late_counts_reach_the_record_through_any_node(fleet: Fleet) -> None:
    """Another node revises what the first one settled and forgot."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.say(report(PROGRESS, counts=Counts(100, output=4)))
    client.close()
    fleet.run(seconds=31)
    other = Client(fleet["b"])
    other.say(report(FINISH, counts=Counts(100, output=9), resume=grant.resume, want_receipt=True))
    receipt = receipt_of(other, 1)
    assert (receipt.usage.output, receipt.overrun_tokens, receipt.revision) == (9, 5, 2)
    assert booked(fleet) == 109


def test_an_allowed_request_that_nobody_reports_on_is_settled_at_zero(fleet: Fleet) -> None:
    """Its input was a hold, not usage."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, counts=Counts(100)))
    client.close()
    fleet.run(seconds=32)
    assert booked(fleet) == 0


@pytest.mark.parametrize(("at_a", "at_b"), [(0, 5), (4, 9), (4, 16), (16, 17), (16, 500), (0, 2_000)])
def test_a_request_that_moves_is_booked_once(fleet: Fleet, at_a: int, at_b: int) -> None:
    """Up to its grant by the node that gave it, beyond by the next: whichever hears the finish."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    first.say(report(PROGRESS, counts=Counts(100, output=at_a)))
    grant = granted(first.said(2)) if first.said(2) is not None else grant
    fleet["a"].commit()
    first.close()
    second = Client(fleet["b"])
    second.say(report(PROGRESS, counts=Counts(100, output=at_a), resume=grant.resume))
    second.say(report(FINISH, counts=Counts(100, output=at_b), want_receipt=True))
    receipt = receipt_of(second, 2)
    assert receipt.usage.total == max(0, at_b - grant.output_ceiling_tokens)
    fleet.run(seconds=31)
    assert booked(fleet) == 100 + at_b


def test_a_finish_that_moved_and_is_said_again_is_booked_once(fleet: Fleet) -> None:
    """To the same node, to the first one, and to one that has never heard of it."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    first.close()
    counts = Counts(100, output=grant.output_ceiling_tokens + 50)
    Client(fleet["b"]).say(report(FINISH, counts=counts, resume=grant.resume))
    fleet["b"].commit()
    fleet.start("c")
    for name in ("c", "b", "c"):
        Client(fleet[name]).say(report(FINISH, counts=counts, resume=grant.resume))
    fleet.run(seconds=32)
    Client(fleet["c"]).say(report(FINISH, counts=counts, resume=grant.resume))
    assert booked(fleet) == counts.total


def test_a_request_may_come_back_to_a_node_that_it_left(fleet: Fleet) -> None:
    """The node does not take its old part for the whole: each part is booked as far as it was granted."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    fleet["a"].commit()
    first.close()
    second = Client(fleet["b"])
    output = grant.output_ceiling_tokens
    grant_b = granted(second.say(report(PROGRESS, counts=Counts(100, output=output), resume=grant.resume)))
    assert grant_b.output_ceiling_tokens > output
    fleet["b"].commit()
    second.close()
    third = Client(fleet["a"])
    output = grant_b.output_ceiling_tokens
    grant_a = granted(third.say(report(PROGRESS, counts=Counts(100, output=output), resume=grant_b.resume)))
    assert grant_a.output_ceiling_tokens > output
    third.say(report(FINISH, counts=Counts(100, output=output + 3)))
    fleet.run(seconds=62)
    assert booked(fleet) == 100 + output + 3


def test_a_later_grant_that_its_client_never_heard_of_is_not_booked_twice(fleet: Fleet) -> None:
    """The client goes on from the grant that it knows; the node that gave a larger one books only up to there."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    first.send(report(PROGRESS, counts=Counts(100, output=grant.output_ceiling_tokens)))
    fleet["a"].pump()
    assert fleet["a"].node.services[SERVICE].open["r1"].ceiling_tokens > grant.output_ceiling_tokens
    first.close()
    second = Client(fleet["b"])
    output = grant.output_ceiling_tokens
    second.say(report(PROGRESS, counts=Counts(100, output=output), resume=grant.resume))
    second.say(report(FINISH, counts=Counts(100, output=output + 9)))
    fleet.run(seconds=32)
    assert booked(fleet) == 100 + output + 9


def test_a_finish_beyond_the_grant_that_shows_its_token_where_it_runs_is_booked_once(fleet: Fleet) -> None:
    """On another stream of the same node, before anything of the request is on record."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    second = Client(fleet["a"])
    counts = Counts(100, output=grant.output_ceiling_tokens + 7)
    second.say(report(FINISH, counts=counts, resume=grant.resume))
    first.close()
    fleet.run(seconds=70)
    assert booked(fleet) == counts.total


def test_a_finish_without_its_token_finds_the_request_all_the_same(fleet: Fleet) -> None:
    """A unary caller behind a balancer: authorised by one node, finished by another."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    first.say(report(PROGRESS, counts=Counts(100, output=3)))
    fleet["a"].commit()
    Client(fleet["b"]).say(report(FINISH, counts=Counts(100, output=grant.output_ceiling_tokens + 5)))
    first.close()
    fleet.run(seconds=32)
    assert booked(fleet) == 100 + grant.output_ceiling_tokens + 5


def test_a_resumed_authorisation_lives_on_the_grant_that_it_brings(fleet: Fleet) -> None:
    """Where nothing more can be had, the old grant still holds."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    rest = fleet.control.pots[fleet.control.key(UID, PotKind.MONEY)].available_units
    Client(fleet["a"]).say(report(AUTHORIZE, "hog", Counts(rest), max_output_tokens=0))
    fleet.run(ms=100)
    first.close()
    second = Client(fleet["b"])
    second.say(report(AUTHORIZE, counts=Counts(100), resume=grant.resume))
    fleet.run(seconds=2)
    assert granted(second.said(1)).output_ceiling_tokens >= grant.output_ceiling_tokens


@pytest.mark.parametrize("reported", [False, True])
@pytest.mark.parametrize("comes_back", [False, True])
def test_a_node_that_crashes_is_settled_by_its_next_epoch(fleet: Fleet, reported: bool, comes_back: bool) -> None:
    """Its open requests at their last checkpoint, its leases at what was committed; or as far as a client went on."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    if reported:
        client.say(report(PROGRESS, counts=Counts(100, output=4)))
    fleet["a"].commit()
    assert client.said(client.sequence) is None or client.durable == client.sequence
    fleet.crash("a")
    output = grant.output_ceiling_tokens + 7
    if comes_back:
        Client(fleet["b"]).say(report(FINISH, counts=Counts(100, output=output), resume=grant.resume))
    fleet.start("a")
    fleet.run(seconds=20)
    first = min((record for record in fleet.database.requests.values() if record.request_id == "r1"), key=part)
    assert first.state is RequestState.OPEN
    fleet.run(seconds=12)
    assert booked(fleet) == (100 + output if comes_back else 104 if reported else 0)
    assert all(lease.closed for lease in fleet.database.leases.values() if lease.epoch == 1 and lease.node == "a")


@pytest.mark.parametrize("node", ["a", "b"])
def test_a_node_lost_before_it_wrote_anything_is_settled_too(fleet: Fleet, node: str) -> None:
    """The client's token says what was granted; the node that takes over leaves it for the lost one's next epoch."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    fleet.crash("a")
    if node == "a":
        fleet.start("a")
    other = Client(fleet[node])
    other.say(report(PROGRESS, counts=Counts(100, output=5), resume=grant.resume))
    other.say(report(FINISH, counts=Counts(100, output=10)))
    if node == "b":
        fleet.run(seconds=5)
        fleet.start("a")
    # Of the lease nobody has a record but control, which takes it back in its own time.
    fleet.run(seconds=45)
    assert booked(fleet) == 110


def test_a_successor_that_still_runs_is_waited_for(fleet: Fleet) -> None:
    """Neither the node that is alive nor the one that comes back closes the books on a part that others still use."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.close()
    second = Client(fleet["b"])
    second.say(report(PROGRESS, counts=Counts(100, output=2), resume=grant.resume))
    fleet.run(seconds=100)
    assert fleet["a"].node.services[SERVICE].open["r1"].is_open
    fleet.crash("a")
    fleet.start("a")
    fleet.run(seconds=100)
    second.say(report(FINISH, counts=Counts(100, output=11)))
    fleet.run(seconds=35)
    assert booked(fleet) == 111


def test_a_clean_shutdown_leaves_what_runs_to_others(fleet: Fleet) -> None:
    """The stream ends when all that was said is durable; another node goes on; the next epoch books what it granted."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.say(report(PROGRESS, counts=Counts(100, output=5)))
    client.session.leave()
    assert not client.session.idle
    client.send(report(PROGRESS, counts=Counts(100, output=9)))
    fleet["a"].commit()
    assert client.session.idle
    client.hear()
    assert client.durable == client.answered == 2
    client.close()
    fleet["a"].shut_down()
    fleet.crash("a")
    (held,) = [lease for lease in fleet.control.leases.values() if lease.node == "a" and not lease.closed]
    assert 0 < held.granted_units - held.returned_units < BALANCE // 2
    other = Client(fleet["b"])
    ceiling = granted(other.say(report(AUTHORIZE, counts=Counts(100), resume=grant.resume))).output_ceiling_tokens
    assert ceiling >= grant.output_ceiling_tokens
    other.say(report(FINISH, counts=Counts(100, output=grant.output_ceiling_tokens + 7), want_receipt=True))
    assert receipt_of(other, 2).usage == Counts(output=7)
    fleet.start("a")
    fleet.run(seconds=32)
    assert booked(fleet) == 100 + grant.output_ceiling_tokens + 7


def test_a_stream_ends_only_when_what_waits_is_decided(fleet: Fleet) -> None:
    """A finish that waits for a payer is booked as finished; what was authorised after it runs on."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, "r1", Counts(100)))
    fleet["a"].linked = False
    client.send(
        report(FINISH, "r1", Counts(100, output=BALANCE // 2)),
        report(AUTHORIZE, "r2", Counts(BALANCE // 4)),
    )
    client.session.leave()
    fleet["a"].commit()
    assert not client.session.idle
    fleet["a"].linked = True
    fleet.run(ms=40)
    client.session.leave()
    fleet["a"].commit()
    client.hear()
    assert client.session.idle
    records = {record.request_id: record for record in fleet.database.requests.values()}
    assert (records["r1"].state, records["r2"].state) == (RequestState.FINISHED, RequestState.OPEN)
    assert records["r1"].receipt.usage.total == 100 + BALANCE // 2


def test_a_shutdown_leaves_what_others_went_on_with(fleet: Fleet) -> None:
    """To book it now would lose what lies between its counts and its grant; the next epoch settles it."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.close()
    second = Client(fleet["b"])
    second.say(report(PROGRESS, counts=Counts(100, output=2), resume=grant.resume))
    fleet["b"].commit()
    fleet["a"].shut_down()
    fleet.crash("a")
    second.say(report(FINISH, counts=Counts(100, output=14)))
    fleet.start("a")
    fleet.run(seconds=32)
    assert booked(fleet) == 114


def test_what_waits_when_its_stream_breaks_begins_nothing(fleet: Fleet) -> None:
    """An authorisation that nobody will hear of holds nothing; counts that were said still count."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, "r1", Counts(100)))
    fleet["a"].linked = False
    client.send(report(AUTHORIZE, "r2", Counts(BALANCE // 2)), report(FINISH, "r1", Counts(100, output=50_000)))
    assert fleet["a"].node.waiting_count == 2
    client.close()
    assert fleet["a"].node.waiting_count == 1
    fleet["a"].linked = True
    fleet.run(seconds=1)
    assert fleet["a"].node.services[SERVICE].open == {}
    assert fleet["a"].node.silent == {}
    assert booked(fleet) == 50_100


def test_a_grant_that_comes_when_its_stream_is_gone_is_settled(fleet: Fleet) -> None:
    """A request that opens behind a broken stream does not stay open for ever."""
    client = Client(fleet["a"])
    fleet["a"].linked = False
    client.send(report(PROGRESS, "r1", Counts(BALANCE // 2, output=3)))
    client.close()
    fleet["a"].linked = True
    fleet.run(seconds=32)
    assert booked(fleet) == BALANCE // 2 + 3


def test_a_report_long_after_its_time_is_refused(fleet: Fleet) -> None:
    """Ids are kept for seven days; an older grant is not gone on with."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    fleet["a"].commit()
    fleet.crash("a")
    fleet.clock.advance(seconds=7 * 86_400 + 1)
    fleet["b"].exchange_leases()
    decision = Client(fleet["b"]).say(report(PROGRESS, counts=Counts(100, output=5), resume=grant.resume))
    assert decision is not None
    assert (decision.reason, decision.retryable) == (Reason.TOO_OLD, False)


def test_a_grant_that_was_lost_with_its_stream_is_given_again(fleet: Fleet) -> None:
    """The server comes back to the same node with the grant before it, and would stop there: half of what it has."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    used = Counts(100, output=grant.output_ceiling_tokens // 2 + 1)
    raised = granted(first.say(report(PROGRESS, counts=used)))
    first.close()

    again = Client(fleet["a"])
    assert raised.output_ceiling_tokens > grant.output_ceiling_tokens
    assert granted(again.say(report(PROGRESS, counts=used, resume=grant.resume))) == raised
    assert again.say(report(PROGRESS, counts=used)) is None
