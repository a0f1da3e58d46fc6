"""Requests that move without their token, or are revised from two sides: the record decides."""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.report import Phase
from tests.metering.moves import booked, granted, two_nodes
from tests.metering.rig import Client, Fleet, report

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
