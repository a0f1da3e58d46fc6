"""A finish waits for the part before it, but not for ever, and many such waits keep nothing else waiting."""

import pytest

from control_service.domain.node import LOST_AFTER_NS
from metering_service.domain.counts import Counts
from metering_service.domain.records import RequestState
from metering_service.usecases.settings import NodeSettings
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, with_money
from tests.harness.metering.two_nodes import AUTHORIZE, FINISH, PROGRESS, booked, granted, two_nodes

BOUND_S = 22 + 30 + 10


@pytest.fixture
def fleet() -> Fleet:
    """Two nodes, and a service with plenty of money at a nano a token."""
    return two_nodes()


def test_the_bound_goes_by_when_a_node_is_lost_and_settled() -> None:
    """As control has it."""
    settings = NodeSettings()
    assert settings.lost_after_ns == LOST_AFTER_NS
    assert settings.predecessor_wait_max_ns == BOUND_S * 10**9


def records(fleet: Fleet, request_id: str = "r1") -> dict[str, tuple[RequestState, int]]:
    """By part: its state, and what was booked of it."""
    return {
        record.part: (record.state, record.receipt.usage.total)
        for record in fleet.database.requests.values()
        if record.request_id == request_id
    }


@pytest.mark.parametrize("stays", ["its stream is open", "it is gone", "it is gone unwritten"])
def test_a_finish_is_booked_by_itself_when_its_predecessor_does_not_end(fleet: Fleet, stays: str) -> None:
    """Its client is answered; what the part before granted is booked once, by its own node, when that comes back."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    first.say(report(PROGRESS, counts=Counts(100, output=3)))
    if stays != "it is gone unwritten":
        fleet["a"].commit()
    if stays != "its stream is open":
        fleet.crash("a")
    second = Client(fleet["b"])
    counts = Counts(100, output=grant.output_ceiling_tokens + 50)
    second.say(report(FINISH, counts=counts, resume=grant.resume, want_receipt=True))
    fleet.run(seconds=BOUND_S - 2)
    second.hear()
    assert (second.answered, second.durable) == (1, 0)
    assert {state for state, _ in records(fleet).values()} == {RequestState.OPEN}
    fleet.run(seconds=4)
    decision = second.said(1)
    assert decision is not None
    assert decision.receipt is not None
    assert decision.receipt.usage.total == 50
    assert second.durable == 1
    assert fleet["b"].node.waiting_count == fleet["b"].node.predecessors.count == 0
    if stays == "its stream is open":
        first.close()
    else:
        fleet.start("a")
    fleet.run(seconds=70)
    assert booked(fleet) == counts.total


@pytest.mark.parametrize("beyond", [0, -20, 30])
@pytest.mark.parametrize("shows_token", [False, True])
def test_its_own_node_books_no_more_than_it_granted_when_it_hears_the_finish_after_all(
    fleet: Fleet, beyond: int, shows_token: bool
) -> None:
    """Its stream stayed, and its server ends the request there, too, after another node booked it by itself."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    fleet["a"].commit()
    second = Client(fleet["b"])
    output = grant.output_ceiling_tokens + 50
    second.say(report(FINISH, counts=Counts(100, output=output), resume=grant.resume))
    fleet.run(seconds=BOUND_S + 2)
    second.hear()
    assert second.durable == 1
    resume = grant.resume if shows_token else b""
    first.say(report(FINISH, counts=Counts(100, output=output + beyond), resume=resume, want_receipt=True))
    fleet.run(seconds=1)
    first.hear()
    assert first.durable == 2
    fleet.run(seconds=70)
    assert booked(fleet) == 100 + output + max(0, beyond)


def test_a_finish_that_is_said_again_and_again_waits_no_longer(fleet: Fleet) -> None:
    """On other streams, with its token and without: the wait is the request's."""
    grant = granted(Client(fleet["a"]).say(report(AUTHORIZE, counts=Counts(100))))
    fleet["a"].commit()
    fleet.crash("a")
    counts = Counts(100, output=grant.output_ceiling_tokens + 50)
    clients = []
    for number in range(13):
        clients.append(Client(fleet["b"]))
        clients[-1].say(report(FINISH, counts=counts, resume=grant.resume if number % 2 else b""))
        fleet.run(seconds=5)
    for client in clients:
        client.hear()
        assert client.durable == 1
    fleet.start("a")
    fleet.run(seconds=70)
    assert booked(fleet) == counts.total


def test_a_node_that_starts_again_while_a_finish_waits_books_it_once(fleet: Fleet) -> None:
    """Nothing was acknowledged, so its client says it again."""
    grant = granted(Client(fleet["a"]).say(report(AUTHORIZE, counts=Counts(100))))
    fleet["a"].commit()
    fleet.crash("a")
    counts = Counts(100, output=grant.output_ceiling_tokens + 50)
    finish = report(FINISH, counts=counts, resume=grant.resume)
    Client(fleet["b"]).say(finish)
    fleet.run(seconds=40)
    fleet.crash("b")
    again = Client(fleet.start("b"))
    again.say(finish)
    fleet.run(seconds=BOUND_S + 2)
    again.hear()
    assert again.durable == 1
    fleet.start("a")
    fleet.run(seconds=70)
    assert booked(fleet) == counts.total


def test_counts_that_revise_wait_no_longer_for_an_earlier_part(fleet: Fleet) -> None:
    """The end of the line is booked, the part before it is not, and its node is gone."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    fleet["a"].commit()
    fleet.crash("a")
    second = Client(fleet["b"])
    second.say(report(PROGRESS, counts=Counts(100, output=1), resume=grant.resume))
    second.say(report(FINISH, counts=Counts(100, output=2)))
    fleet.run(seconds=1)
    late = Client(fleet["b"])
    output = grant.output_ceiling_tokens + 9
    late.say(report(FINISH, counts=Counts(100, output=output), resume=grant.resume))
    fleet.run(seconds=BOUND_S - 3)
    late.hear()
    assert late.durable == 0
    fleet.run(seconds=5)
    late.hear()
    assert late.durable == 1
    fleet.start("a")
    fleet.run(seconds=70)
    assert booked(fleet) == 100 + output


def waits_of(fleet: Fleet, count: int) -> tuple[Client, int]:
    """So many finishes on node b that wait for parts of node a, which is gone; and how many tokens they are."""
    first, second = Client(fleet["a"]), Client(fleet["b"])
    for number in range(count):
        first.say(report(AUTHORIZE, f"w{number}", Counts(1), max_output_tokens=16))
    fleet.run(ms=100)
    first.hear()
    tokens = {decision.request_id: granted(decision).resume for _, decision in first.decisions}
    fleet["a"].commit()
    fleet.crash("a")
    for number in range(count):
        second.send(report(FINISH, f"w{number}", Counts(1, output=20), resume=tokens[f"w{number}"]))
    return second, 21 * count


@pytest.mark.parametrize("waits_max", [40, 1_000])
def test_many_waits_do_not_make_a_node_overloaded(waits_max: int) -> None:
    """Beyond their number the oldest is booked by itself; in the end all are, once."""
    fleet = Fleet("a", "b", settings=NodeSettings(waiting_max=100, unread_beyond=150, predecessor_waits_max=waits_max))
    with_money(fleet, 1_000_000)
    for name in ("a", "b"):
        Client(fleet[name]).say(report(AUTHORIZE, "warm", max_output_tokens=0))
    second, tokens = waits_of(fleet, 400)
    fleet.run(seconds=6)
    node = fleet["b"].node
    assert node.predecessors.count == min(400, waits_max)
    assert node.waiting_count == 0
    honest = Client(fleet["b"]).say(report(AUTHORIZE, "honest", Counts(1)))
    assert granted(honest).output_ceiling_tokens > 0
    fleet.run(seconds=BOUND_S)
    second.hear()
    assert second.durable == second.sequence
    assert node.predecessors.count == node.waiting_count == 0
    assert not node.services[SERVICE].waiters
    fleet.start("a")
    fleet.run(seconds=70)
    ended = [record for record in fleet.database.requests.values() if record.request_id.startswith("w")]
    assert sum(record.receipt.usage.total for record in ended) == tokens


def test_one_request_does_not_wait_in_any_number(fleet: Fleet) -> None:
    """Said more often than anything may wait, it is booked by itself at once."""
    settings = NodeSettings(waiting_max=100, unread_beyond=150, predecessor_waits_max=40)
    fleet = Fleet("a", "b", settings=settings)
    with_money(fleet, 1_000_000)
    for name in ("a", "b"):
        Client(fleet[name]).say(report(AUTHORIZE, "warm", max_output_tokens=0))
    second, _ = waits_of(fleet, 1)
    for _ in range(60):
        second.say(report(FINISH, "w0", Counts(1, output=20)))
    fleet.run(seconds=1)
    second.hear()
    assert second.durable == second.sequence
    assert fleet["b"].node.predecessors.count == fleet["b"].node.waiting_count == 0


def test_looks_for_what_waits_are_few(fleet: Fleet) -> None:
    """However often it is said, and the more rarely the longer it waits."""
    grant = granted(Client(fleet["a"]).say(report(AUTHORIZE, counts=Counts(100))))
    fleet["a"].commit()
    fleet.crash("a")
    rechecks = 0
    find = fleet.database.find_request

    async def counting(service_uid: str, request_id: str) -> list[object]:
        nonlocal rechecks
        rechecks += 1
        return list(await find(service_uid, request_id))

    fleet.database.find_request = counting  # type: ignore[method-assign, assignment]  # it counts
    second = Client(fleet["b"])
    counts = Counts(100, output=grant.output_ceiling_tokens + 50)
    for _ in range(20):
        second.say(report(FINISH, counts=counts, resume=grant.resume))
    fleet.run(seconds=BOUND_S - 2)
    assert rechecks < 20 + 60
