"""What a team used is recorded with the team, as of when it was authorised; moving the service moves no history."""

from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.records import RequestState
from metering_service.domain.report import Phase
from metering_service.domain.service import ServiceConfig
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, stopped, with_money
from tests.harness.metering.two_nodes import granted, unwritten_successor

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
BALANCE = 1_000_000


@pytest.fixture
def fleet() -> Fleet:
    """Two nodes, and a service of the red team with plenty of money at a nano a token."""
    fleet = Fleet("a", "b")
    with_money(fleet, BALANCE, team="red")
    return fleet


def move(fleet: Fleet, team: str) -> ServiceConfig:
    """The service goes to another team, and every node hears of it."""
    config = fleet.control.put(replace(fleet.control.services[SERVICE], team=team))
    fleet.run(ms=80)
    return config


def records(fleet: Fleet, request_id: str = "r1") -> list[tuple[str, int]]:
    """Team and booked tokens of each part of a request, by its start."""
    parts = sorted(fleet.database.requests.values(), key=lambda record: (record.start_us, record.part))
    return [(record.team, record.receipt.usage.total) for record in parts if record.request_id == request_id]


def totals(fleet: Fleet) -> dict[str, int]:
    """Tokens of each team in the aggregates, which are those of the records."""
    sums: dict[str, int] = {}
    for key, cell in fleet.database.aggregates.items():
        sums[key.team] = sums.get(key.team, 0) + cell.usage.total
    of_records = dict.fromkeys(sums, 0)
    for record in fleet.database.requests.values():
        of_records[record.team] = of_records.get(record.team, 0) + record.receipt.usage.total
    assert {team: tokens for team, tokens in of_records.items() if team in sums or tokens} == sums
    return sums


def denials(fleet: Fleet) -> dict[tuple[str, str], int]:
    return {(key.team, key.reason): count for key, count in fleet.database.denials.items()}


def test_what_runs_when_its_service_moves_stays_with_the_team(fleet: Fleet) -> None:
    """What was authorised before is the old team's, however late it ends; what comes later is the new one's."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, counts=Counts(100)))
    fleet.run(ms=80)
    assert records(fleet) == [("red", 0)], "its checkpoint has the team"
    move(fleet, "blue")
    client.say(report(PROGRESS, counts=Counts(100, output=3)))
    client.say(report(AUTHORIZE, "r2", counts=Counts(10)))
    client.say(report(FINISH, "r2", counts=Counts(10, output=1)))
    client.say(report(FINISH, counts=Counts(100, output=5)))
    fleet.run(ms=80)
    assert (records(fleet), records(fleet, "r2")) == ([("red", 105)], [("blue", 11)])
    assert totals(fleet) == {"red": 105, "blue": 11}


def test_what_comes_late_is_added_where_the_request_is(fleet: Fleet) -> None:
    """A revision is of the team that the record has: here, and on a node that only knows the record."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, counts=Counts(100)))
    client.say(report(FINISH, counts=Counts(100, output=5)))
    move(fleet, "blue")
    client.say(report(FINISH, counts=Counts(100, output=7)))
    fleet.run(ms=80)
    assert totals(fleet) == {"red": 107}
    Client(fleet["b"]).say(report(FINISH, counts=Counts(100, output=9)))
    fleet.run(seconds=1)
    assert records(fleet) == [("red", 109)]
    assert totals(fleet) == {"red": 109}


def test_usage_that_nobody_asked_for_is_the_teams_of_that_moment(fleet: Fleet) -> None:
    """There was no authorisation: it is as of the report."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, "warm", max_output_tokens=0))
    move(fleet, "blue")
    client.say(report(FINISH, counts=Counts(100, output=5)))
    client.say(report(PROGRESS, "r2", counts=Counts(10, output=1)))
    fleet.run(ms=80)
    move(fleet, "green")
    client.say(report(FINISH, "r2", counts=Counts(10, output=2)))
    fleet.run(ms=80)
    assert (records(fleet), records(fleet, "r2")) == ([("blue", 105)], [("blue", 12)])


def test_a_part_on_another_node_is_the_teams_of_the_part_before(fleet: Fleet) -> None:
    """Whose a request is does not change while it runs, nor what it is charged to."""
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=8)))
    first.say(report(PROGRESS, counts=Counts(100, output=2)))
    fleet.run(ms=80)
    first.close()
    move(fleet, "blue")
    second = Client(fleet["b"])
    second.say(report(AUTHORIZE, counts=Counts(100), resume=grant.resume))
    fleet.run(ms=80)
    second.say(report(FINISH, counts=Counts(100, output=grant.output_ceiling_tokens + 4), resume=grant.resume))
    fleet.run(seconds=40)
    assert records(fleet) == [("red", 100 + grant.output_ceiling_tokens), ("red", 4)]
    assert totals(fleet) == {"red": 104 + grant.output_ceiling_tokens}


def test_after_a_crash_it_is_booked_for_the_team_on_record(fleet: Fleet) -> None:
    """The node comes back, and knows the service as another team's."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, counts=Counts(100)))
    client.say(report(PROGRESS, counts=Counts(100, output=3)))
    fleet.run(seconds=1)
    fleet.crash("a")
    move(fleet, "blue")
    Client(fleet.start("a")).say(report(AUTHORIZE, "warm", max_output_tokens=0))
    fleet.run(seconds=40)
    (record,) = [record for record in fleet.database.requests.values() if record.request_id == "r1"]
    assert record.state is RequestState.TIMED_OUT
    assert (records(fleet), totals(fleet)["red"]) == ([("red", 103)], 103)


def test_a_part_whose_node_was_lost_before_it_was_on_record_is_as_its_token_says() -> None:
    """It is noted by the node that goes on with it, from what its client brings along."""
    fleet = Fleet("a", "b")
    config = with_money(fleet, BALANCE, team="red")
    _, moved = unwritten_successor(fleet)
    fleet.control.put(replace(config, team="blue"))
    fleet.run(ms=80)
    third = Client(fleet["a"])
    third.say(report(AUTHORIZE, counts=Counts(100), resume=moved.resume))
    fleet.run(ms=80)
    assert [team for team, _ in records(fleet)] == ["red", "red", "red"]


def test_denials_are_the_teams_of_that_moment(fleet: Fleet) -> None:
    """Of a request that was allowed first, and found out to be a used id then, they are its own team's."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, counts=Counts(100)))
    client.say(report(FINISH, counts=Counts(100)))
    assert client.say(report(AUTHORIZE, counts=Counts(100))) is not None
    fleet.run(seconds=1)
    assert denials(fleet) == {("red", "REQUEST_ID_REUSED"): 1}
    other = Client(fleet["b"])
    granted(other.say(report(AUTHORIZE, counts=Counts(100))))
    fleet.control.put(stopped(replace(fleet.control.services[SERVICE], team="blue")))
    fleet["b"].hear_control()
    fleet.run(seconds=1)
    other.hear()
    assert Reason.REQUEST_ID_REUSED in [decision.reason for _, decision in other.decisions]
    other.say(report(AUTHORIZE, "r2", counts=Counts(100)))
    fleet.run(ms=80)
    assert denials(fleet) == {("red", "REQUEST_ID_REUSED"): 2, ("blue", "POSTPAID_DISABLED"): 1}
