"""Requests that move without their token, or are revised from two sides: the record decides."""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Grant
from metering_service.domain.report import Phase
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.two_nodes import booked, granted, two_nodes, unwritten_successor

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


@pytest.fixture
def fleet() -> Fleet:
    """Two nodes, and a service with plenty of money at a nano a token."""
    return two_nodes()


def test_several_reports_of_one_request_follow_a_reconnect(fleet: Fleet) -> None:
    """Only the first brings the grant's token; all of them are about the same part."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    first.say(report(PROGRESS, counts=Counts(100, output=2)))
    first.close()
    fleet.run(ms=400)
    second = Client(fleet["b"])
    second.send(
        report(PROGRESS, counts=Counts(100, output=4), resume=grant.resume),
        report(PROGRESS, counts=Counts(100, output=6)),
        report(FINISH, counts=Counts(100, output=8)),
    )
    fleet.run(seconds=40)
    assert booked(fleet) == 108


def test_two_nodes_revise_one_settled_request(fleet: Fleet) -> None:
    """Each goes by the record, not by what it remembers: the differences add up to the last counts."""
    first, second = Client(fleet["a"]), Client(fleet["b"])
    first.say(report(AUTHORIZE, counts=Counts(100)))
    first.say(report(FINISH, counts=Counts(100, output=10)))
    for output, client in ((20, second), (30, first), (40, second), (40, first)):
        fleet.run(ms=400)
        client.say(report(FINISH, counts=Counts(100, output=output)))
    assert booked(fleet) == 140


def test_progress_of_an_unknown_request_is_looked_up(fleet: Fleet) -> None:
    """It may come late, after the finish that another node heard: then it changes nothing."""
    first, second = Client(fleet["a"]), Client(fleet["b"])
    first.say(report(AUTHORIZE, counts=Counts(100)))
    first.say(report(FINISH, counts=Counts(100, output=10)))
    fleet.run(ms=400)
    second.say(report(PROGRESS, counts=Counts(100, output=9)))
    fleet.run(seconds=40)
    assert booked(fleet) == 110


@pytest.mark.parametrize("node", ["a", "b"])
@pytest.mark.parametrize("has_token", [True, False])
def test_a_late_finish_is_booked_by_the_part_that_it_belongs_to(fleet: Fleet, node: str, has_token: bool) -> None:
    """Both parts of a request that moved have timed out; what comes then lies within the first one's grant."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    first.say(report(PROGRESS, counts=Counts(100, output=2)))
    first.close()
    fleet.run(ms=400)
    second = Client(fleet["b"])
    moved = granted(second.say(report(AUTHORIZE, counts=Counts(100), resume=grant.resume)))
    second.say(report(PROGRESS, counts=Counts(100, output=3)))
    second.close()
    fleet.run(seconds=100)
    late = Client(fleet[node])
    for output_tokens in (5, 8, 8):
        resume = moved.resume if has_token else b""
        late.say(report(FINISH, counts=Counts(100, output=output_tokens), resume=resume))
        fleet.run(ms=400)
    late.hear()
    assert late.durable == late.sequence
    assert booked(fleet) == 108


def silent_line(fleet: Fleet, *nodes: str, reported: int = 2) -> list[Grant]:
    """A request that went from node to node, was silent at each, and has timed out everywhere; the grants of its parts.

    The first part was told of some output, the others of none.
    """
    grants, resume = list[Grant](), b""
    for node in nodes:
        client = Client(fleet[node])
        grants.append(granted(client.say(report(AUTHORIZE, counts=Counts(100), resume=resume))))
        resume = grants[-1].resume
        if not grants[1:]:
            client.say(report(PROGRESS, counts=Counts(100, output=reported)))
        client.close()
        fleet.run(ms=400)
    fleet.run(seconds=100)
    return grants


@pytest.mark.parametrize("node", ["a", "b"])
@pytest.mark.parametrize("has_token", [True, False])
def test_a_finish_after_all_parts_timed_out_is_booked_by_all_of_them(fleet: Fleet, node: str, has_token: bool) -> None:
    """The first part is filled up to its grant, as overrun; the last one takes the rest. Said again, it is the same."""
    first, last = silent_line(fleet, "a", "b")
    counts = Counts(100, output=first.output_ceiling_tokens + 5)
    for late in (Client(fleet[node]), Client(fleet["a"]), Client(fleet["b"])):
        late.say(report(FINISH, counts=counts, resume=last.resume if has_token else b"", want_receipt=True))
        fleet.run(ms=400)
        late.hear()
        assert late.durable == late.sequence
        (decision,) = [decision for _, decision in late.decisions if decision.receipt is not None]
        assert decision.receipt is not None
        assert decision.receipt.usage == Counts(output=5)
    assert booked(fleet) == counts.total
    a, b = sorted(
        (record for record in fleet.database.requests.values() if record.request_id == "r1"),
        key=lambda record: record.part,
    )
    assert (a.receipt.usage, b.receipt.usage) == (Counts(100, output=first.output_ceiling_tokens), Counts(output=5))
    assert (a.receipt.overrun_tokens, b.receipt.overrun_tokens) == (first.output_ceiling_tokens - 2, 5)


@pytest.mark.parametrize("node", ["a", "b", "c"])
@pytest.mark.parametrize("beyond", [-120, -3, 0, 7])
def test_two_of_three_parts_are_filled(fleet: Fleet, node: str, beyond: int) -> None:
    """As far as the counts reach, be it only into the middle of the second one."""
    fleet.start("c")
    *_, second, last = silent_line(fleet, "a", "b", "c")
    late = Client(fleet[node])
    for more in (beyond, beyond + 30):
        counts = Counts(100, output=max(4, second.output_ceiling_tokens + more))
        late.say(report(FINISH, counts=counts, resume=last.resume))
        fleet.run(ms=400)
        late.hear()
        assert late.durable == late.sequence
        assert booked(fleet) == counts.total


def test_input_that_comes_late_is_booked_once(fleet: Fleet) -> None:
    """What the first part had asked for is its own, what goes beyond that is the last one's."""
    client = Client(fleet["a"])
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.close()
    fleet.run(ms=400)
    second = Client(fleet["b"])
    second.say(report(AUTHORIZE, counts=Counts(100), resume=grant.resume))
    second.close()
    fleet.run(seconds=100)
    assert booked(fleet) == 0
    Client(fleet["b"]).say(report(FINISH, counts=Counts(90, cached_input=40, output=grant.output_ceiling_tokens + 1)))
    assert booked(fleet) == 131 + grant.output_ceiling_tokens


def test_a_late_finish_waits_until_an_earlier_part_that_runs_is_settled(fleet: Fleet) -> None:
    """Its node may have looked for what came after it already, and would not hear of the rest."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    first.say(report(PROGRESS, counts=Counts(100, output=2)))
    fleet.run(ms=400)
    second = Client(fleet["b"])
    moved = granted(second.say(report(AUTHORIZE, counts=Counts(100), resume=grant.resume)))
    second.close()
    fleet.run(seconds=40)
    late = Client(fleet["b"])
    counts = Counts(100, output=grant.output_ceiling_tokens + 5)
    late.say(report(FINISH, counts=counts, resume=moved.resume))
    fleet.run(seconds=8)
    late.hear()
    assert late.durable < late.sequence
    first.close()
    fleet.run(seconds=40)
    late.hear()
    assert late.durable == late.sequence
    assert booked(fleet) == counts.total


def test_a_node_is_lost_before_what_a_late_finish_revises_is_written(fleet: Fleet) -> None:
    """The finish is not durable, is said again to the other node, and is booked by that one."""
    first, last = silent_line(fleet, "a", "b")
    counts = Counts(100, output=first.output_ceiling_tokens + 5)
    late = Client(fleet["b"])
    late.say(report(FINISH, counts=counts, resume=last.resume))
    assert late.durable < late.sequence
    fleet.crash("b")
    again = Client(fleet["a"])
    again.say(report(FINISH, counts=counts, resume=last.resume))
    fleet.start("b")
    fleet.run(seconds=40)
    again.hear()
    assert again.durable == again.sequence
    assert booked(fleet) == counts.total


@pytest.mark.parametrize("finishes", [True, False])
def test_a_part_that_timed_out_before_it_could_know_of_the_next_one_is_filled(fleet: Fleet, *, finishes: bool) -> None:
    """The next one was never written, and its node is gone: whoever hears its token fills what lies before that."""
    fleet.start("c")
    grant, moved = unwritten_successor(fleet)
    assert booked(fleet) == 102
    counts = Counts(100, output=grant.output_ceiling_tokens + 1)
    third = Client(fleet["c"])
    third.say(report(FINISH if finishes else PROGRESS, counts=counts, resume=moved.resume))
    third.close()
    fleet.start("b")
    fleet.run(seconds=100)
    assert booked(fleet) == counts.total


@pytest.mark.parametrize("beyond", [1, 10, 30])
@pytest.mark.parametrize("repeats", [(), ("a",), ("b",), ("c", "b")])
def test_a_finish_of_more_than_was_granted_ends_what_goes_on_elsewhere(
    fleet: Fleet, beyond: int, repeats: tuple[str, ...]
) -> None:
    """A caller without tokens, behind a balancer: its finish holds, and what one node has booked no other one books."""
    fleet.start("c")
    first = Client(fleet["a"])
    ceiling = granted(first.say(report(AUTHORIZE, counts=Counts(100)))).output_ceiling_tokens
    fleet["a"].commit()
    others = Client(fleet["b"]), Client(fleet["c"])
    for output, other in enumerate(others, ceiling + beyond):
        other.say(report(PROGRESS, counts=Counts(100, output=output)))
        fleet.run(ms=400)
    counts = Counts(100, output=ceiling + 20)
    first.say(report(FINISH, counts=counts))
    for node in repeats:
        fleet.run(ms=400)
        Client(fleet[node]).say(report(FINISH, counts=counts))
    for each in (first, *others):
        each.close()
    fleet.run(seconds=100)
    assert booked(fleet) == counts.total


@pytest.mark.parametrize("restarts", ["c", "bc", "cb"])
@pytest.mark.parametrize("beyond", [-5, 0, 4])
def test_what_a_lost_node_had_heard_fills_a_part_that_timed_out_too_soon(
    fleet: Fleet, restarts: str, beyond: int
) -> None:
    """Nobody says a finish any more: whoever settles the end of the line in its node's stead sees to the parts before.

    What lay in the first one's grant has been given back, so it is overrun.
    """
    fleet.start("c")
    grant, moved = unwritten_successor(fleet)
    counts = Counts(100, output=grant.output_ceiling_tokens + beyond)
    third = Client(fleet["c"])
    third.say(report(PROGRESS, counts=counts, resume=moved.resume))
    fleet.run(ms=400)
    fleet.crash("c")
    for node in restarts:
        fleet.start(node)
        fleet.run(seconds=40)
    fleet.start("b")
    fleet.run(seconds=100)
    assert booked(fleet) == counts.total
    first = min(
        (record for record in fleet.database.requests.values() if record.request_id == "r1"),
        key=lambda record: record.part,
    )
    assert first.receipt.overrun_tokens == first.receipt.usage.total - 102
