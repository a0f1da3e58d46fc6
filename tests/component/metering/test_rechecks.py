"""What timed out is checked once more, by whoever is there: each part of a request by itself, on the records."""

from collections.abc import Iterator, Sequence

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.pot import PotKind
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.report import Phase
from metering_service.usecases.ports import RequestName
from metering_service.usecases.reports.timeouts import check_silent
from tests.harness.metering.immediate import now
from tests.harness.metering.node_harness import Client, Fleet, Rig, report
from tests.harness.metering.services import NANO_EACH, running, with_money
from tests.harness.metering.two_nodes import BALANCE, booked, granted, two_nodes

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


def begun(rig: Rig) -> tuple[Client, bytes]:
    """A request with two tokens of output, and the token of its grant."""
    client = Client(rig)
    grant = granted(client.say(report(AUTHORIZE, counts=Counts(100))))
    client.say(report(PROGRESS, counts=Counts(100, output=2)))
    return client, grant.resume


def time_out(fleet: Fleet, rig: Rig) -> None:
    """The window of what is silent now is over: the database says that nobody went on. That is not committed yet."""
    fleet.run(seconds=29, ms=740)
    fleet.clock.advance(us=600_000)
    check_silent(rig.node)
    rig.look()


def at_the_end_of_its_window(fleet: Fleet) -> tuple[Client, bytes]:
    """A request of node a that times out, which is not committed yet; a stream to node b, and the grant's token."""
    client, resume = begun(fleet["a"])
    client.close()
    time_out(fleet, fleet["a"])
    return Client(fleet["b"]), resume


@pytest.mark.parametrize("waits_for_payers", [False, True])
def test_a_finish_that_is_under_way_while_the_node_before_leaves_is_filled_later(*, waits_for_payers: bool) -> None:
    """It looked too early to see that the part before had timed out; that node's second look comes after it left."""
    fleet = two_nodes()
    a, b = fleet["a"], fleet["b"]
    second, resume = at_the_end_of_its_window(fleet)
    b.linked = not waits_for_payers
    second.say(report(PROGRESS, counts=Counts(100, output=5), resume=resume))
    b.commit()
    second.say(report(FINISH, counts=Counts(100, output=3_000), resume=resume))
    a.commit()
    if waits_for_payers:
        fleet.run(seconds=1)
    a.shut_down()
    fleet.crash("a")
    b.linked = True
    fleet.run(seconds=10)
    assert [each.node for each in now(fleet.database.unsettled_nodes("b"))] == ["a"]
    fleet.start("a")
    fleet.run(seconds=40)
    assert booked(fleet) == 3_100
    assert now(fleet.database.unsettled_nodes("b")) == []


@pytest.mark.parametrize("shows_token", [True, False])
@pytest.mark.parametrize("is_on_record", [True, False])
def test_late_counts_of_a_part_do_not_take_away_its_second_look(*, shows_token: bool, is_on_record: bool) -> None:
    """They revise it while the finish of the part after it is not committed, and know less than that.

    `is_on_record`: the part after it is, running. Then they go on from it as a third part, which is the last of all.
    """
    fleet = two_nodes()
    a, b = fleet["a"], fleet["b"]
    second, resume = at_the_end_of_its_window(fleet)
    second.say(report(PROGRESS, counts=Counts(100, output=5), resume=resume))
    if is_on_record:
        b.commit()
    second.say(report(FINISH, counts=Counts(100, output=3_000), resume=resume))
    a.commit()
    late = Client(a)
    late.say(report(PROGRESS, counts=Counts(100, output=3), resume=resume if shows_token else b""))
    a.commit()
    late.close()
    b.commit()
    fleet.run(seconds=300)
    assert sum(part.receipt.usage.total for part in parts_of(fleet)) == 3_100
    assert not fleet.database.rechecks


class Unreadable(list[RequestRecord]):
    """Parts that something goes wrong with."""

    def __iter__(self) -> Iterator[RequestRecord]:
        raise ZeroDivisionError


async def unreadable(names: Sequence[RequestName]) -> dict[RequestName, Unreadable]:
    """What the database is made to answer."""
    return dict.fromkeys(names, Unreadable())


def test_a_defect_in_one_settlement_leaves_the_others_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them is held up for ever."""
    fleet = two_nodes()
    a = fleet["a"]
    for request_id in ("r1", "r2"):
        client = Client(a)
        client.say(report(AUTHORIZE, request_id, Counts(100)))
        client.close()
    with monkeypatch.context() as broken:
        broken.setattr(fleet.database, "find_requests", unreadable)
        with pytest.raises(ZeroDivisionError):
            time_out(fleet, a)
        a.commit()
    fleet.run(seconds=2)
    assert not [record for record in fleet.database.requests.values() if record.state is RequestState.OPEN]


def parts_of(fleet: Fleet) -> list[RequestRecord]:
    return [record for record in fleet.database.requests.values() if record.request_id == "r1"]


@pytest.mark.parametrize("starts_again", [True, False])
def test_two_parts_of_one_request_that_time_out_together_are_filled_one_after_the_other(*, starts_again: bool) -> None:
    """From a to b and back to a; it ends on c in the moment in which both of a's parts time out."""
    fleet = Fleet("a", "b", "c")
    with_money(fleet, BALANCE)
    for name in "abc":
        warm = Client(fleet[name])
        warm.say(report(AUTHORIZE, f"warm-{name}", max_output_tokens=0))
        warm.say(report(FINISH, f"warm-{name}"))
    clients = {name: Client(fleet[name]) for name in "abc"}
    output, resume = 0, b""
    for name in "aba":
        client = clients[name]
        phase = PROGRESS if resume else AUTHORIZE
        client.say(report(phase, counts=Counts(100, output=output), resume=resume))
        fleet.run(ms=400)
        grant = granted(next(decision for _, decision in reversed(client.decisions) if decision.grant is not None))
        output, resume = grant.output_ceiling_tokens + 10, grant.resume
    for client in clients.values():
        client.close()
    if starts_again:
        fleet.crash("a")
        a = fleet.start("a")
        fleet.run(seconds=29, ms=900)
        fleet.clock.advance(us=400_000)
        now(a.recovery.book_left())
    else:
        a = fleet["a"]
        time_out(fleet, a)
    last = Client(fleet["c"])
    last.say(report(AUTHORIZE, counts=Counts(100, output=output - 500), resume=resume))
    last.say(report(FINISH, counts=Counts(100, output=output), resume=resume))
    a.commit()
    fleet["c"].commit()
    fleet.run(seconds=150)
    assert {part.node for part in parts_of(fleet)} == {"a", "b", "c"}
    assert booked(fleet) == 100 + output


def test_what_comes_to_light_after_its_services_leases_were_closed_is_late() -> None:
    """Though another service's still wait: what was set aside for it has been given back, and spent by others."""
    one, two, quota = "accounts/acme/services/one", "accounts/acme/services/two", 9_000
    fleet = Fleet("a", "b")
    for name in (one, two):
        fleet.control.trial(fleet.control.put(running(name, trial_pays=True)), quota)
    client, other = Client(fleet["a"]), Client(fleet["b"])
    client.say(report(AUTHORIZE, "warm", service=one, counts=Counts(5)))
    client.say(report(FINISH, "warm", service=one, counts=Counts(5)))
    waits = granted(client.say(report(AUTHORIZE, "waits", service=two, counts=Counts(10))))
    fleet.run(seconds=1)
    lost = granted(client.say(report(AUTHORIZE, "lost", service=one, counts=Counts(10))))
    fleet["a"].exchange_leases()
    fleet.crash("a")
    other.say(report(PROGRESS, "waits", service=two, counts=Counts(10, output=5), resume=waits.resume))
    fleet.start("a")
    fleet.run(seconds=40)
    assert not fleet["a"].keeper.recovered
    for number, tokens in enumerate((4_000, 2_000, 1_000, 1_000, 500, 200, 285)):
        other.say(report(AUTHORIZE, f"r{number}", service=one, counts=Counts(tokens), max_output_tokens=1))
        fleet.run(ms=600)
        if other.said(other.sequence) is not None:
            other.say(report(FINISH, f"r{number}", service=one, counts=Counts(tokens)))
            fleet.run(ms=100)
    finish = Counts(10, output=lost.output_ceiling_tokens)
    other.say(report(FINISH, "lost", service=one, counts=finish, resume=lost.resume))
    fleet.run(seconds=3)
    other.say(report(FINISH, "waits", service=two, counts=Counts(10, output=6)))
    fleet.run(seconds=100)
    records = [record for record in fleet.database.requests.values() if record.service == one]
    assert sum(record.receipt.trial.total for record in records) <= quota
    assert fleet.control.spent[fleet.control.key("uid-one", PotKind.TRIAL)] <= quota
    late = sum(record.receipt.overrun_tokens for record in records if record.request_id == "lost")
    assert late == finish.total


def test_parts_that_are_booked_late_in_two_commits_have_a_lease_each() -> None:
    """Both on behalf of one lost part, and both at their first revision.

    The leases are of the epochs that booked. Control may have been told that of the lost one all is settled; after a
    recovery it would hear of no lease of it any more.
    """
    fleet = Fleet("a", "b")
    config = fleet.control.put(running(postpaid_pays=True, debt_allowed=True, price=NANO_EACH))
    fleet.control.top_up(BALANCE)
    client, _ = begun(fleet["a"])
    fleet.run(seconds=1)
    client.close()
    fleet.run(seconds=100)
    (first,) = parts_of(fleet)
    records = fleet.database.requests
    for part, begin, tokens in (("p2", 1_000, 500), ("p3", 1_000, 300)):
        # Another part that was settled before its end was known, and what goes on from it.
        usage = Counts(output=10)
        receipt = first.receipt._replace(usage=usage, billed=usage, cost_nanos=10)
        later = first._replace(
            part=part,
            predecessor_part=first.part,
            base_input_tokens=100,
            base_output_tokens=begin,
            counts=Counts(100, output=begin + 10),
            receipt=receipt,
        )
        end = later._replace(
            part=f"{part}-end",
            predecessor_part=part,
            node="b",
            base_output_tokens=begin + tokens,
            counts=Counts(100, output=begin + tokens),
            receipt=first.receipt._replace(usage=Counts(), billed=Counts(), cost_nanos=0),
            state=RequestState.FINISHED,
        )
        records.update({(each.service, "r1", each.part): each for each in (later, end)})
        fleet.database.rechecks = {("a", 1, (first.service, "r1", first.part))}
        fleet.crash("a")
        fleet.start("a")
        fleet.run(seconds=40)
    cost_nanos = sum(record.receipt.cost_nanos for record in records.values())
    consumed = [lease for lease in fleet.database.leases.values() if lease.service_uid == config.uid]
    assert {lease.epoch for lease in consumed if lease.lease_id.startswith("recovered.")} == {2, 3}
    # Ten nanos of each were put on record above, without a lease.
    assert sum(lease.consumed_units for lease in consumed) == cost_nanos - 2 * 10
