"""The parts of one request, settled in all orders: what each has to book is booked once."""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.report import Phase
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE
from tests.harness.metering.two_nodes import booked, granted, two_nodes, unwritten_successor

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


@pytest.fixture
def fleet() -> Fleet:
    """Three nodes, and a service with plenty of money at a nano a token."""
    fleet = two_nodes()
    fleet.start("c")
    return fleet


def test_a_finish_that_is_repeated_while_its_parts_wait_for_payers_fills_them_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first part is filled already, the last one is not paid for yet: another look finds the old record."""
    grant, moved = unwritten_successor(fleet)
    node, third = fleet["c"], Client(fleet["c"])
    third.say(report(PROGRESS, counts=Counts(100, output=grant.output_ceiling_tokens - 3), resume=moved.resume))
    fleet.run(ms=400)
    (lease,) = node.node.services[SERVICE].leases.values()
    more = lease.offer(fleet.clock.monotonic_ns()).units + 100_000
    counts = Counts(100, output=grant.output_ceiling_tokens + more)
    again = Client(node)
    with monkeypatch.context() as patch:
        patch.setattr(node, "exchange_leases", lambda: None)
        for client in (third, again):
            client.send(report(FINISH, counts=counts))
            node.pump()
    fleet.start("b")
    fleet.run(seconds=100)
    assert booked(fleet) == counts.total


@pytest.mark.parametrize("where", ["a", "c"])
def test_a_part_that_was_filled_late_is_not_the_one_that_runs(fleet: Fleet, where: str) -> None:
    """The late finish fills the first part; the same finish then ends the part that still runs, and nothing twice."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    first.say(report(PROGRESS, counts=Counts(100, output=2)))
    fleet.run(ms=400)
    first.close()
    fleet.run(seconds=29)
    fleet.run(ms=740)
    fleet.clock.advance(us=400_000)
    second = Client(fleet["b"])
    moved = granted(second.say(report(AUTHORIZE, counts=Counts(100), resume=grant.resume)))
    said = second.say(report(PROGRESS, counts=Counts(100, output=grant.output_ceiling_tokens)))
    fleet.run(ms=400)
    moved = granted(said or second.said(2))
    second.close()
    counts = Counts(100, output=grant.output_ceiling_tokens + 5)
    for node in (where, "b"):
        Client(fleet[node]).say(report(FINISH, counts=counts, resume=moved.resume))
        fleet.run(ms=400)
    fleet.run(seconds=60)
    assert booked(fleet) == counts.total


def test_a_finish_at_the_first_node_does_not_swallow_what_a_later_one_runs(fleet: Fleet) -> None:
    """It ends at the first grant exactly; a larger finish then reaches the node that went on."""
    first, second = Client(fleet["a"]), Client(fleet["b"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100))))
    fleet.run(ms=400)
    ceiling = grant.output_ceiling_tokens
    second.say(report(PROGRESS, counts=Counts(100, output=ceiling + 10), resume=grant.resume))
    fleet.run(ms=400)
    first.say(report(FINISH, counts=Counts(100, output=ceiling)))
    fleet.run(ms=400)
    counts = Counts(100, output=ceiling + 20)
    second.say(report(FINISH, counts=counts))
    fleet.run(seconds=60)
    assert booked(fleet) == counts.total
