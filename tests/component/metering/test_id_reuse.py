"""An id that has finished before, where this node cannot know it: allowed, found out, stopped; and all is recorded."""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.pot import PotKind
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase
from metering_service.usecases.settings import NodeSettings
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, UID, with_money
from tests.harness.metering.two_nodes import booked, granted, two_nodes

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
BALANCE = 1_000_000


def run_once(fleet: Fleet, request_id: str = "r1", output: int = 10) -> None:
    """A request from its beginning to its end, on node a."""
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, request_id, Counts(100))))
    client.say(report(FINISH, request_id, Counts(100, output=output)))
    fleet.run(ms=100)
    client.close()


def stop_of(client: Client) -> Decision | None:
    """The unasked denial, if there was one."""
    return client.said(None)


@pytest.fixture
def fleet() -> Fleet:
    """Two nodes, and r1 has finished on the first."""
    fleet = two_nodes()
    run_once(fleet)
    return fleet


def reuse(fleet: Fleet, where: str) -> Client:
    """The same id again, at a node that does not know that it has finished."""
    match where:
        case "after a restart":
            fleet.crash("a")
            fleet.start("a")
        case "after 61 s":
            fleet.run(seconds=61)
    client = Client(fleet["b" if where == "elsewhere" else "a"])
    granted(client.say(report(AUTHORIZE, "r1", Counts(50))))
    assert stop_of(client) is None
    fleet.run(ms=40)
    stop = stop_of(client)
    assert stop is not None
    assert (stop.reason, stop.retryable, stop.request_id) == (Reason.REQUEST_ID_REUSED, False, "r1")
    return client


WHERE = ["after a restart", "after 61 s", "elsewhere"]


@pytest.mark.parametrize("where", WHERE)
def test_a_reused_id_is_stopped_and_what_it_used_is_booked_apart(fleet: Fleet, where: str) -> None:
    """What its server reports then, in whatever order, is a part of its own, in full."""
    client = reuse(fleet, where)
    refused = client.say(report(PROGRESS, "r1", Counts(50, output=3)))
    fleet.run(ms=100)
    refused = client.said(client.sequence) or refused
    assert refused is not None
    assert refused.reason is Reason.REQUEST_ID_REUSED
    client.say(report(FINISH, "r1", Counts(50, output=4), want_receipt=True))
    fleet.run(ms=200)
    answer = client.said(client.sequence)
    assert answer is not None
    assert answer.receipt is not None
    assert answer.receipt.usage.total == 54
    assert answer.receipt.overrun_tokens == 54
    assert client.durable == client.sequence
    fleet.run(seconds=60)
    assert booked(fleet) == 110 + 54
    parts = sorted(
        record.receipt.usage.total for record in fleet.database.requests.values() if record.request_id == "r1"
    )
    assert parts == [54, 110]


@pytest.mark.parametrize("where", WHERE)
def test_a_reused_id_gives_back_what_it_held(fleet: Fleet, where: str) -> None:
    """A server that takes the denial for its last word has nothing more to say, and nothing stays held for it."""
    client = reuse(fleet, where)
    lease = client.rig.node.services[SERVICE].leases[PotKind.MONEY]
    assert lease.held == 0
    assert fleet.database.denials
    fleet.run(seconds=60)
    assert booked(fleet) == 110
    client.close()


def test_the_same_authorisation_again_is_refused_at_once(fleet: Fleet) -> None:
    """The node knows by now."""
    client = reuse(fleet, "elsewhere")
    again = client.say(report(AUTHORIZE, "r1", Counts(50)))
    assert again is not None
    assert again.reason is Reason.REQUEST_ID_REUSED


def test_a_finish_that_comes_before_it_is_known_stays_booked(fleet: Fleet) -> None:
    """It ended before the database was asked: recorded in full, and nobody is told anything."""
    client = Client(fleet["b"])
    granted(client.say(report(AUTHORIZE, "r1", Counts(50))))
    client.say(report(FINISH, "r1", Counts(50, output=4)))
    fleet.run(ms=100)
    assert stop_of(client) is None
    assert booked(fleet) == 110 + 54


def test_a_finish_that_is_on_its_way_while_its_server_is_told_is_booked_in_full(fleet: Fleet) -> None:
    """Before anything of the refused request is on record, its finish is not taken for one of the old request."""
    client = Client(fleet["b"])
    granted(client.say(report(AUTHORIZE, "r1", Counts(50))))
    fleet["b"].look()
    assert stop_of(client) is not None
    client.send(report(FINISH, "r1", Counts(50, output=200)))
    fleet["b"].look()
    fleet.run(ms=100)
    assert booked(fleet) == 110 + 250


def test_a_refused_request_that_goes_elsewhere_is_booked_once(fleet: Fleet) -> None:
    """Its stream breaks amid the denial, and its server says the finish to another node, with its token."""
    client = Client(fleet["b"])
    token = granted(client.say(report(AUTHORIZE, "r1", Counts(50)))).resume
    fleet.run(ms=100)
    client.close()
    Client(fleet["a"]).say(report(FINISH, "r1", Counts(50, output=4), resume=token))
    fleet.run(seconds=40)
    assert booked(fleet) == 110 + 54


def test_two_nodes_asked_at_once_both_allow() -> None:
    """A server that heard no answer asks elsewhere, as it must: that is no reuse, also once the first is settled."""
    fleet = two_nodes()
    first, second = Client(fleet["a"]), Client(fleet["b"])
    granted(first.say(report(AUTHORIZE, "r1", Counts(100))))
    first.close()
    fleet.run(ms=40)
    granted(second.say(report(AUTHORIZE, "r1", Counts(100))))
    fleet.run(seconds=32)
    assert [record.state for record in fleet.database.requests.values() if record.request_id == "r1"].count(
        RequestState.TIMED_OUT
    ) == 1
    second.say(report(PROGRESS, "r1", Counts(100, output=1)))
    second.say(report(FINISH, "r1", Counts(100, output=5)))
    assert stop_of(second) is None
    assert booked(fleet) == 105


def test_what_was_settled_while_the_database_was_away_is_no_reuse() -> None:
    """The look comes late, when the other authorisation of the same request has timed out."""
    fleet = two_nodes()
    first, second = Client(fleet["a"]), Client(fleet["b"])
    granted(first.say(report(AUTHORIZE, "r1", Counts(100))))
    first.close()
    fleet.run(ms=100)
    rechecks, fleet["b"].look = fleet["b"].look, lambda: None  # type: ignore[method-assign]
    granted(second.say(report(AUTHORIZE, "r1", Counts(100))))
    fleet.run(seconds=35)
    fleet["b"].look = rechecks  # type: ignore[method-assign]
    fleet.run(ms=100)
    assert stop_of(second) is None
    second.say(report(FINISH, "r1", Counts(100, output=5)))
    assert booked(fleet) == 105


def test_ids_of_resumed_requests_are_not_looked_up(fleet: Fleet) -> None:
    """A request that moves is the same request."""
    client = Client(fleet["a"])
    token = granted(client.say(report(AUTHORIZE, "r2", Counts(50)))).resume
    fleet.run(ms=100)
    client.close()
    there = Client(fleet["b"])
    there.say(report(AUTHORIZE, "r2", Counts(50), resume=token))
    fleet["b"].pump()
    assert not fleet["b"].new_ids
    fleet.run(ms=100)
    assert stop_of(there) is None


def test_too_many_new_ids_are_let_pass_and_counted() -> None:
    """While the database is away: memory is bounded, and only the oldest are looked up later."""
    fleet = Fleet("a", settings=NodeSettings(new_ids_max=3))
    with_money(fleet, BALANCE)
    for number in range(6):
        run_once(fleet, f"r{number}", output=0)
    fleet.crash("a")
    client = Client(fleet.start("a"))
    fleet["a"].exchange_leases()
    fleet.database.down = True
    for number in range(6):
        granted(client.say(report(AUTHORIZE, f"r{number}", Counts(10), max_output_tokens=1)))
    fleet.run(ms=200)
    assert stop_of(client) is None
    fleet.database.down = False
    fleet.run(ms=200)
    client.hear()
    stopped = [decision.request_id for number, decision in client.decisions if number is None]
    assert stopped == ["r0", "r1", "r2"]
    assert fleet["a"].new_ids.skipped_count == 3
    pot = fleet.control.key(UID, PotKind.MONEY)
    assert fleet.control.spent[pot] <= 600
