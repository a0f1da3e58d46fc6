"""Faults that the simulator found, each as short as it can be told.

The file is named after where its cases come from: each needs several rules at once, and would be looked for under none.
"""

from collections.abc import Sequence

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.lease import LeaseAnswer, LeaseStatement
from metering_service.domain.pot import PotKind
from metering_service.domain.records import STAND_IN
from metering_service.domain.report import Phase
from metering_service.usecases.commits import checkpoints
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import NANO_EACH, SERVICE, UID, running, with_money, with_trial
from tests.harness.metering.two_nodes import booked, granted, two_nodes

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


def test_a_closed_lease_is_over_when_control_knows_all_of_it() -> None:
    """A commit between the question and the answer that closes a lease: what it had is said all the same."""
    fleet = Fleet()
    config = with_trial(fleet, 1_000)
    rig, client = fleet["a"], Client(fleet["a"])
    client.say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=0))
    client.say(report(FINISH, counts=Counts(100)))
    said = rig.keeper.statements()
    rig.commit()
    fleet.control._reclaim("a", below_epoch=2)
    answers = fleet.control.exchange("a", 1, said)
    rig.keeper.answered(said, answers, fleet.clock.monotonic_ns(), 20_000_000_000)
    fleet.run(ms=100)
    assert fleet.control.spent[fleet.control.key(config.uid, PotKind.TRIAL)] == 100


def test_a_finish_that_waited_for_the_database_does_not_wait_for_payers_for_ever() -> None:
    """The control service is cut off meanwhile and cannot say who pays: it is on record within seconds."""
    fleet = Fleet()
    with_trial(fleet, 1_000)
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, "warm", max_output_tokens=0))
    client.say(report(FINISH, "warm"))
    fleet.run(ms=100)
    fleet.database.down = True
    client.say(report(FINISH, "late", Counts(5_000)))
    fleet.run(seconds=7)
    fleet["a"].linked = False
    fleet.database.down = False
    fleet.run(seconds=7)
    client.hear()
    assert client.durable == client.sequence
    record = next(each for each in fleet.database.requests.values() if each.request_id == "late")
    assert record.receipt.usage.total == 5_000
    assert (record.service, record.service_uid) == (SERVICE, UID)


def test_a_finish_without_authorisation_is_booked_by_one_of_two_nodes() -> None:
    """Both hear it while neither has committed anything; the larger count holds, and is booked once."""
    fleet = Fleet("a", "b")
    config = with_trial(fleet, 10_000)
    first, second = Client(fleet["a"]), Client(fleet["b"])
    for client in (first, second):
        client.say(report(AUTHORIZE, "warm", max_output_tokens=0))
        client.say(report(FINISH, "warm"))
    fleet.run(ms=100)
    first.say(report(FINISH, "r1", Counts(100)))
    second.say(report(FINISH, "r1", Counts(130)))
    fleet.run(seconds=8)
    for client in (first, second):
        client.hear()
        assert client.durable == client.sequence
    assert fleet.control.spent[fleet.control.key(config.uid, PotKind.TRIAL)] == 130
    assert sum(cell.usage.total for cell in fleet.database.aggregates.values()) == 130


def test_a_finish_beyond_its_grant_is_booked_by_one_of_two_nodes() -> None:
    """The second node hears it before the first one has committed: it waits until that is settled."""
    fleet = Fleet("a", "b")
    config = with_trial(fleet, 10_000)
    first, second = Client(fleet["a"]), Client(fleet["b"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=16)))
    fleet["a"].commit(checkpoints=True)
    first.send(report(FINISH, counts=Counts(100, output=20)))
    first.close()
    second.send(report(FINISH, counts=Counts(100, output=20), resume=grant.resume))
    for _ in range(3):
        fleet["b"].beat()
    fleet.run(seconds=8)
    second.hear()
    assert second.durable == second.sequence
    assert fleet.control.spent[fleet.control.key(config.uid, PotKind.TRIAL)] == 120
    assert sum(cell.usage.total for cell in fleet.database.aggregates.values()) == 120


def test_a_finish_beyond_its_grant_is_booked_though_its_first_node_is_gone() -> None:
    """Once that node's next epoch has settled what it left."""
    fleet = Fleet("a", "b")
    with_trial(fleet, 10_000)
    first, second = Client(fleet["a"]), Client(fleet["b"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=16)))
    fleet.crash("a")
    second.send(report(FINISH, counts=Counts(100, output=20), resume=grant.resume))
    fleet.run(seconds=8)
    second.hear()
    assert second.durable < second.sequence
    fleet.start("a")
    fleet.run(seconds=40)
    second.hear()
    assert second.durable == second.sequence
    assert sum(cell.usage.total for cell in fleet.database.aggregates.values()) == 120


def test_what_two_lost_nodes_could_not_write_is_booked() -> None:
    """Nobody goes on from a part that is not on record: so it is there, whoever is lost after that."""
    fleet = Fleet("a", "b", "c")
    with_trial(fleet, 10_000)
    grant = granted(Client(fleet["a"]).say(report(AUTHORIZE, counts=Counts(100))))
    fleet.crash("a")
    second = Client(fleet["b"])
    second.say(report(PROGRESS, counts=Counts(100, output=5), resume=grant.resume))
    assert second.said(1) is None
    fleet["b"].commit()
    fleet["b"].beat()
    assert len(fleet.database.requests) == 2
    fleet.crash("b")
    third = Client(fleet["c"])
    third.send(report(FINISH, counts=Counts(100, output=grant.output_ceiling_tokens), resume=grant.resume))
    fleet.run(seconds=2)
    for node in ("a", "b"):
        fleet.start(node)
    fleet.run(seconds=40)
    tokens = sum(cell.usage.total for cell in fleet.database.aggregates.values())
    assert tokens == 100 + grant.output_ceiling_tokens


def test_what_comes_to_light_after_its_lease_was_closed_is_overrun() -> None:
    """What was set aside for it was given back, and may be spent already: so it is debt, and no payer pays twice."""
    fleet = Fleet("a", "b")
    with_money(fleet, 1_000)
    grant = granted(Client(fleet["a"]).say(report(AUTHORIZE, counts=Counts(100), max_output_tokens=16)))
    fleet.crash("a")
    fleet.run(seconds=100)
    fleet.start("a")
    fleet.run(seconds=40)
    second = Client(fleet["b"])
    second.say(report(FINISH, counts=Counts(100, output=10), resume=grant.resume))
    fleet.run(seconds=40)
    second.hear()
    assert second.durable == second.sequence
    (part,) = [record for record in fleet.database.requests.values() if record.node == "a"]
    assert (part.receipt.usage.total, part.receipt.overrun_tokens) == (110, 110)
    assert (part.receipt.cost_nanos, part.receipt.debt_nanos) == (110, 110)


def test_a_request_that_moves_goes_on_inside_its_grant_while_the_database_is_slow() -> None:
    """Only its first report brings the token; those after it are not stopped for want of one."""
    fleet = Fleet("a", "b")
    with_trial(fleet, 10_000)
    warm = Client(fleet["b"])
    warm.say(report(AUTHORIZE, "warm", max_output_tokens=0))
    warm.say(report(FINISH, "warm"))
    grant = granted(Client(fleet["a"]).say(report(AUTHORIZE, counts=Counts(100))))
    fleet["a"].commit(checkpoints=True)
    fleet.database.down = True
    second = Client(fleet["b"])
    second.send(report(PROGRESS, counts=Counts(100, output=5), resume=grant.resume))
    second.send(report(PROGRESS, counts=Counts(100, output=6)))
    fleet.run(seconds=2)
    second.hear()
    assert not [decision for _, decision in second.decisions if not decision.allowed]
    fleet.database.down = False
    fleet.run(seconds=1)
    second.hear()
    assert second.durable == second.sequence


def test_parts_that_come_to_light_one_after_the_other_all_reach_the_ledger() -> None:
    """Each has a lease of its own: consumption on one lease is a maximum, and the second would vanish in the first."""
    fleet = Fleet("a", "b")
    config = with_money(fleet, 1_000)
    first = Client(fleet["a"])
    grants = [granted(first.say(report(AUTHORIZE, name, Counts(20), max_output_tokens=16))) for name in ("r1", "r2")]
    fleet.crash("a")
    fleet.run(seconds=100)
    fleet.start("a")
    fleet.run(seconds=40)
    second = Client(fleet["b"])
    for name, grant in zip(("r1", "r2"), grants, strict=True):
        second.say(report(FINISH, name, Counts(20, output=10), resume=grant.resume))
        fleet.run(seconds=40)
    assert fleet.control.spent[fleet.control.key(config.uid, PotKind.MONEY)] == 60
    assert sum(cell.cost_nanos for cell in fleet.database.aggregates.values()) == 60


def test_a_repeated_report_is_durable_when_what_it_repeats_is() -> None:
    """The stream breaks before the commit, and the same is said again on another one."""
    fleet = Fleet()
    with_trial(fleet, 1_000)
    first, second = Client(fleet["a"]), Client(fleet["a"])
    grant = granted(first.say(report(AUTHORIZE, counts=Counts(10))))
    fleet["a"].commit()
    fleet.database.down = True
    first.send(report(PROGRESS, counts=Counts(10, output=5)))
    first.close()
    second.send(report(PROGRESS, counts=Counts(10, output=5), resume=grant.resume))
    second.hear()
    assert second.durable == 0
    fleet["a"].commit()
    second.send(report(PROGRESS, counts=Counts(10, output=5)))
    assert second.durable == 0
    fleet.database.down = False
    fleet.run(ms=200)
    second.hear()
    assert second.durable == second.sequence
    (record,) = fleet.database.requests.values()
    assert record.counts == Counts(10, output=5)


def test_a_checkpoint_whose_last_requests_end_by_themselves_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are settled while a slow commit has its first part: who waits for the checkpoint is told all the same."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SLICE", 64)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_STEP", 64)
    fleet = Fleet()
    with_money(fleet, 10**9)
    rig, client = fleet["a"], Client(fleet["a"])
    names = [f"r{number}" for number in range(checkpoints.CHECKPOINT_SLICE + 10)]
    client.say(report(AUTHORIZE, "warm", Counts(10), max_output_tokens=10_000_000))
    client.send(*(report(AUTHORIZE, name, Counts(1), max_output_tokens=16) for name in names))
    fleet.run(seconds=2)
    client.send(*(report(PROGRESS, name, Counts(1, output=1)) for name in names))
    assert list(rig.checkpoints.sweep(begins=True)) == []
    assert rig.buffer.begin_commit() is not None
    assert rig.checkpoints.is_sweeping
    client.send(*(report(FINISH, name, Counts(1, output=1)) for name in names))
    rig.buffer.end_commit()
    while list(rig.checkpoints.sweep(begins=True)) or rig.buffer.begin_commit() is not None:
        rig.buffer.end_commit()
    client.hear()
    assert client.durable == client.sequence


@pytest.mark.parametrize("phases", [(FINISH,), (AUTHORIZE, FINISH), (PROGRESS, FINISH)])
def test_a_request_goes_on_in_an_epoch_that_has_the_number_of_its_own(phases: tuple[Phase, ...]) -> None:
    """The database was put back to a copy from before. A part that goes on from one of its name would have no end."""
    fleet = two_nodes()
    nodes, requests = dict(fleet.database.nodes), dict(fleet.database.requests)
    fleet.crash("a")
    grant = granted(Client(fleet.start("a")).say(report(AUTHORIZE, counts=Counts(100))))
    lost = fleet["a"].keys.ring.read(UID, "r1", grant.resume)
    assert lost is not None
    fleet.crash("a")
    fleet.database.nodes, fleet.database.requests = nodes, requests
    client = Client(fleet.start("a"))
    client.rig.node._parts = int(lost.part.rsplit(".", 1)[1]) - 1
    for phase in phases:
        client.say(report(phase, counts=Counts(100, output=3), resume=grant.resume))
        fleet.run(ms=400)
    client.hear()
    assert client.durable == client.sequence
    fleet.crash("a")
    fleet.start("a")
    fleet.run(seconds=70)
    parts = [record for record in fleet.database.requests.values() if record.request_id == "r1"]
    assert sum(record.receipt.usage.total for record in parts) == 103


@pytest.mark.parametrize("leaves", [False, True])
def test_a_token_whose_authorisation_was_denied_counts_for_the_finish_after_it(*, leaves: bool) -> None:
    """A whole answer's stream moves while the database is away: its authorisation is denied there, or never decided.

    What it finishes with, without saying the token again, is booked by the node that had granted it, and by no other.
    """
    fleet = two_nodes()
    fleet.database.down = True
    first = Client(fleet["a"])
    asked = report(AUTHORIZE, counts=Counts(200), whole=True, max_output_tokens=120)
    token = granted(first.say(asked)).resume
    first.close()
    second = Client(fleet["b"])
    second.send(asked._replace(resume=token))
    if not leaves:
        fleet.run(seconds=3)
        denial = second.said(1)
        assert denial is not None
        assert denial.reason is Reason.STORAGE_UNAVAILABLE
    second.send(report(FINISH, counts=Counts(200, output=120)))
    if leaves:
        second.close()
    fleet.run(seconds=1)
    Client(fleet["a"]).send(report(FINISH, counts=Counts(200, output=120), resume=token))
    fleet["b"].database.down = False
    assert booked(fleet) == 320


def test_stand_ins_are_said_after_all_leases_that_are_on_record() -> None:
    """Control draws what they consumed from what is open of earlier epochs: of that, requests on record may hold some.

    The first epoch leaves a request whose lease never came on record, the second one a request and its lease.
    """
    fleet = Fleet("a")
    config = fleet.control.put(running(postpaid_pays=True, price=NANO_EACH))
    fleet.control.top_up(1_000_000_000)
    for ids in (("r1",), ("r2", "r3")):
        client = Client(fleet["a"])
        for request_id in ids:
            client.say(report(AUTHORIZE, request_id, counts=Counts(100)))
            client.say(report(PROGRESS, request_id, counts=Counts(100, output=10)))
        fleet.run(seconds=1)
        if "r3" in ids:
            client.say(report(FINISH, "r3", counts=Counts(100, output=20)))
            fleet.run(seconds=1)
        fleet.crash("a")
        if "r1" in ids:
            # The node ended between the commit with the request and the one with its lease.
            fleet.database.leases.clear()
            fleet.start("a")
    on_record = {lease.lease_id for lease in fleet.database.leases.values() if not lease.closed}
    open_before: list[set[str]] = []
    exchange = fleet.control.exchange

    def watched(node: str, epoch: int, statements: Sequence[LeaseStatement]) -> list[LeaseAnswer]:
        if any(said.lease_id.startswith(STAND_IN) for said in statements):
            open_before.append({each for each in on_record if not fleet.control.leases[each].closed})
        return exchange(node, epoch, statements)

    fleet.control.exchange = watched  # type: ignore[method-assign]
    fleet.start("a")
    fleet.run(seconds=100)
    assert on_record
    assert open_before
    assert not any(open_before)
    consumed = sum(lease.consumed_units for lease in fleet.control.leases.values() if lease.service_uid == config.uid)
    assert consumed == 110 + 110 + 120
