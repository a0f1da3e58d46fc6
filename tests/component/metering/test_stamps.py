"""Whose a request is, is fixed when it is authorised: for its record, its token, and all of its parts."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.report import Phase
from metering_service.domain.stamp import HOUR_US, Stamp, hour_of
from metering_service.usecases.commits.write_buffer import MINUTE_US
from tests.harness.metering.keys import sha256
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, with_money
from tests.harness.metering.two_nodes import granted

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
BALANCE = 1_000_000


def stamps(fleet: Fleet, request_id: str = "r1") -> list[Stamp]:
    """The stamp of each part of a request, by its start."""
    parts = sorted(fleet.database.requests.values(), key=lambda record: (record.start_us, record.part))
    return [record.stamp for record in parts if record.request_id == request_id]


def test_a_later_part_has_the_stamp_of_the_first() -> None:
    """In the next hour, on another node, after the service has moved, and the key to another team."""
    fleet = Fleet("a", "b")
    with_money(fleet, BALANCE, team="red")
    fleet.control.put_key("k", team="red")
    began = Stamp("uid-k", "red", "red", hour_of(fleet.clock.now_us()))
    first = Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=8, key_sha256=sha256("k"))))
    fleet.run(ms=80)
    first.close()
    fleet.control.put(replace(fleet.control.services[SERVICE], team="blue"))
    fleet.control.put_key("k")
    fleet.clock.jump(us=HOUR_US)
    second = Client(fleet["b"])
    second.say(report(AUTHORIZE, counts=Counts(100), resume=grant.resume, key_sha256=sha256("k")))
    fleet.run(ms=80)
    second.say(report(FINISH, counts=Counts(100, output=grant.output_ceiling_tokens + 4), resume=grant.resume))
    fleet.run(seconds=40)
    assert stamps(fleet) == [began, began]
    cells = fleet.database.aggregates
    assert {(key.team, key.credential, key.hour_us) for key in cells} == {("red", "uid-k", began.hour_us)}
    assert sum(cell.usage.total for cell in cells.values()) == 104 + grant.output_ceiling_tokens


def test_sums_are_of_the_hour_of_the_authorisation() -> None:
    """What ends in a later hour is counted in its minute, and for the hour in which it was authorised."""
    fleet = Fleet("a")
    with_money(fleet, BALANCE)
    began_us = fleet.clock.now_us()
    client = Client(fleet["a"])
    granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    fleet.clock.jump(us=HOUR_US)
    client.say(report(FINISH, counts=Counts(100, output=1)))
    client.say(report(FINISH, "r2", counts=Counts(10)))
    fleet.run(seconds=1)
    sums = {(key.hour_us, cell.usage.total) for key, cell in fleet.database.aggregates.items()}
    assert sums == {(hour_of(began_us), 101), (hour_of(began_us + HOUR_US), 10)}


def test_totals_are_apart_by_the_service_that_they_were_booked_on() -> None:
    """Also within one commit, where another one has the name: after control was put back to an older copy."""
    fleet = Fleet()
    before = with_money(fleet, BALANCE)
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, "warm", max_output_tokens=0))
    client.send(*(report(AUTHORIZE, request_id) for request_id in ("r1", "r2")))
    fleet.run(ms=80)
    client.send(report(FINISH, "r1", Counts(3)))
    fleet.control.put(replace(before, uid="uid-other"))
    fleet["a"].pump()
    client.send(report(FINISH, "r2", Counts(4)))
    fleet.run(ms=80)
    cells = fleet.database.aggregates
    assert {key.service_uid: cell.usage.total for key, cell in cells.items()} == {before.uid: 3, "uid-other": 4}


@pytest.mark.parametrize("want_receipt", [False, True])
@pytest.mark.parametrize("before_us", [1, 3])
def test_sums_are_of_the_minute_that_the_records_say(
    before_us: int, want_receipt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a minute ends while a message is booked, together or one after the other: records add up to sums."""
    fleet = Fleet("a")
    with_money(fleet, BALANCE)
    client = Client(fleet["a"])
    names = [f"r{number}" for number in range(5)]
    for name in names:
        client.say(report(AUTHORIZE, name, counts=Counts(10)))
    fleet.run(ms=80)
    fleet.clock.jump(us=MINUTE_US - before_us - fleet.clock.now_us() % MINUTE_US)
    with monkeypatch.context() as patches:
        patches.setattr(fleet.clock, "now_us", itertools.count(fleet.clock.now_us()).__next__)
        client.send(*(report(FINISH, name, Counts(10, output=1), want_receipt=want_receipt) for name in names))
    fleet.run(ms=80)
    booked = [record.booked_us for record in fleet.database.requests.values() if record.booked_us is not None]
    records = Counter(booked_us // MINUTE_US * MINUTE_US for booked_us in booked)
    assert records == {key.minute_us: cell.request_count for key, cell in fleet.database.aggregates.items()}
    assert records.total() == len(names)
