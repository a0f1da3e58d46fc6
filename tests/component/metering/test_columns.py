"""Progress in columns: what passes without a look, what is looked at, and what is wrong in itself."""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.pot import PotKind
from metering_service.domain.report import HANDLES_MAX, Phase
from metering_service.domain.request import Request
from metering_service.usecases import meter_stream
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, with_money

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
INPUT = Counts(100, 20, 5)


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet()
    with_money(fleet, 1_000_000_000)
    return fleet


@pytest.fixture
def client(fleet: Fleet) -> Client:
    """A stream with three requests of 1,024 tokens each, bound to 1, 2 and 3; all of it is durable."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, "warm", INPUT))
    client.send(*(report(AUTHORIZE, f"r{number}", INPUT, handle=number) for number in range(1, 4)))
    fleet.run(ms=200)
    client.hear()
    assert client.durable == client.sequence
    client.decisions.clear()
    return client


def request_of(client: Client, request_id: str) -> Request:
    return client.rig.node.services[SERVICE].open[request_id]


def counts_of(client: Client, request_id: str) -> Counts:
    return request_of(client, request_id).tally.counts


def passes(client: Client, handle: int, request_id: str) -> bool:
    """Whether what comes next by this handle passes without a look at its request."""
    request, stream = request_of(client, request_id), client.session
    assert request.running is not None
    return request.running.lines[request.slot * 8] == stream._handles._tickets[handle]


def test_an_entry_says_what_a_report_would(fleet: Fleet, client: Client) -> None:
    """The input is as it was said before, and counts from then on; nothing is answered by name."""
    client.send_columns({1: 7, 2: 8, 3: 9})
    assert client.answered == client.sequence
    assert (client.decisions, client.grants) == ([], [])
    for number, output in ((1, 7), (2, 8), (3, 9)):
        assert counts_of(client, f"r{number}") == INPUT._replace(output=output)
    assert client.durable < client.sequence
    fleet.run(ms=200)
    client.hear()
    assert client.durable == client.sequence
    client.send_columns({2: 10}, reasoning_tokens=[4])
    assert counts_of(client, "r2") == INPUT._replace(output=10, reasoning=4)
    client.send_columns({2: 20})
    assert counts_of(client, "r2") == INPUT._replace(output=20, reasoning=4)


def test_a_request_that_crashes_is_booked_at_its_last_entry(fleet: Fleet, client: Client) -> None:
    """Columns are on record as reports are."""
    client.send_columns({1: 7, 2: 300, 3: 9})
    fleet.run(ms=200)
    client.send_columns({1: 8})
    fleet.run(ms=200)
    fleet.crash("a")
    Client(fleet.start("a")).say(report(AUTHORIZE, "warm2", max_output_tokens=0))
    fleet.run(seconds=40)
    booked = {key[1]: record.receipt.usage for key, record in fleet.database.requests.items()}
    assert booked["r1"] == INPUT._replace(output=8)
    assert booked["r2"] == INPUT._replace(output=300)


def test_entries_that_say_no_more_have_no_effect(fleet: Fleet, client: Client) -> None:
    """Neither the same once more nor less; they are durable when what they repeat is."""
    client.send_columns({1: 70})
    first = client.sequence
    client.send_columns({1: 70})
    client.send_columns({1: 69})
    assert counts_of(client, "r1").output == 70
    assert client.answered == client.sequence
    assert client.durable < first
    fleet.run(ms=200)
    client.hear()
    assert client.durable == client.sequence
    client.send_columns({1: 70})
    assert client.durable == client.sequence
    assert passes(client, 1, "r1")


def test_a_repeat_is_not_durable_before_what_it_repeats(fleet: Fleet, client: Client) -> None:
    """While its counts wait for a checkpoint, while they are gathered for a commit, and while that is under way."""
    rig = client.rig
    fleet.database.down = True
    client.send_columns({1: 70})
    client.send_columns({1: 70})
    assert client.durable < client.sequence - 1
    list(rig.checkpoints.sweep(begins=True))
    client.send_columns({1: 70})
    assert client.durable < client.sequence - 2
    rig.buffer.begin_commit()
    client.send_columns({1: 70})
    client.hear()
    assert client.durable < client.sequence - 3
    rig.buffer.end_commit()
    client.hear()
    assert client.durable == client.sequence


@pytest.mark.parametrize("step", ["changed", "gathered", "under way"])
def test_a_repeat_is_not_durable_before_what_another_stream_said(fleet: Fleet, client: Client, step: str) -> None:
    """A server that comes back may ask again, which says no output, and then say what is known by an entry."""
    client.send_columns({1: 70})
    client.close()
    if step != "changed":
        list(client.rig.checkpoints.sweep(begins=True))
    if step == "under way":
        client.rig.buffer.begin_commit()
    again = Client(client.rig)
    again.send(report(AUTHORIZE, "r1", INPUT, handle=1))
    again.send_columns({1: 70})
    assert passes(again, 1, "r1")
    assert again.answered == again.sequence > again.durable
    if step == "under way":
        client.rig.buffer.end_commit()
    fleet.run(ms=200)
    again.hear()
    assert again.durable == again.sequence


def test_an_entry_without_output_says_that_the_input_was_taken_in(fleet: Fleet, client: Client) -> None:
    """As a report does: what was only held until then is used, once; said again, it passes."""
    client.send_columns({1: 0})
    assert client.answered == client.sequence > client.durable
    assert counts_of(client, "r1") == INPUT
    client.send_columns({1: 0, 2: 5})
    assert passes(client, 1, "r1")
    fleet.run(ms=200)
    client.close()
    fleet.run(seconds=60)
    booked = {key[1]: record.receipt.usage for key, record in fleet.database.requests.items()}
    assert (booked["r1"], booked["r3"]) == (INPUT, Counts())


def test_an_entry_that_waits_for_money_is_recorded_all_the_same() -> None:
    """Though nothing else happens, the writer is woken for its counts."""
    fleet = Fleet()
    with_money(fleet, 1_000_000)
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, "r1", INPUT, handle=1))
    fleet.run(ms=200)
    client.send_columns({1: 1})
    fleet.run(ms=200)
    assert passes(client, 1, "r1")
    lease = client.rig.node.services[SERVICE].leases[PotKind.MONEY]
    lease.give_back_free()
    woken = []
    client.rig.buffer.on_work = lambda: woken.append(True)
    client.send_columns({1: 1_024})
    assert client.answered < client.sequence
    assert woken
    assert lease.demand.needed == 16


@pytest.mark.parametrize(("first", "then"), [(False, True), (True, False)])
def test_entries_estimate_if_the_last_report_did(client: Client, first: bool, then: bool) -> None:
    """Though what holds is what was said before that: more, or a count where this was a guess."""
    client.send(report(PROGRESS, "r1", INPUT._replace(output=9), estimated=first))
    client.send(report(PROGRESS, "r1", INPUT._replace(output=9 if then else 5), estimated=then))
    assert request_of(client, "r1").tally.estimated is first
    client.send_columns({1: 20})
    assert counts_of(client, "r1").output == 20
    assert request_of(client, "r1").tally.estimated is then


@pytest.mark.parametrize("by_entries", [True, False])
def test_an_engine_that_goes_on_while_its_request_waits_waits_once(by_entries: bool) -> None:
    """However many steps it says until control answers: there is room for others, and no more is asked for."""
    fleet = Fleet()
    with_money(fleet, 1_000_000)
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, "r1", INPUT, handle=1))
    fleet.run(ms=200)
    client.hear()
    node = client.rig.node
    lease = node.services[SERVICE].leases[PotKind.MONEY]
    lease.give_back_free()
    before = client.sequence
    for output in range(1_024, 1_034):
        if by_entries:
            client.send_columns({1: output})
        else:
            client.send(report(PROGRESS, "r1", INPUT._replace(output=output)))
    assert (node.room.count, lease.demand.needed) == (1, 16)
    assert client.answered == before
    fleet.run(ms=400)
    client.hear()
    assert node.room.count == 0
    assert client.durable == client.answered == client.sequence
    ((_, decision),) = [said for said in client.decisions if said[0] is not None and said[0] > before]
    assert decision.grant is not None
    assert decision.grant.output_ceiling_tokens > 2_000
    client.send_columns({1: 1_500})
    assert client.answered == client.sequence


def test_a_grant_that_is_raised_is_said_in_columns(client: Client) -> None:
    """By number and handle; the next entry passes again, up to half of the new ceiling."""
    before = request_of(client, "r2").ceiling_tokens
    client.send_columns({1: 5, 2: before // 2 + 1, 3: 6})
    (raised,) = client.grants
    assert (raised.sequence, raised.handle) == (client.sequence - 1, 2)
    assert raised.grant.output_ceiling_tokens == request_of(client, "r2").ceiling_tokens > before
    assert not raised.grant.is_final
    assert client.decisions == []
    assert passes(client, 2, "r2")


def test_a_last_grant_is_said_by_name(fleet: Fleet) -> None:
    """And so is a denial."""
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, "r2", INPUT, handle=6, max_output_tokens=2_000))
    client.send_columns({6: 900})
    fleet["a"].pump()
    client.send_columns({6: 1_999})
    fleet["a"].pump()
    client.hear()
    assert client.decisions[-1][1].grant is not None
    assert client.decisions[-1][1].grant.is_final


@pytest.mark.parametrize(
    ("entries", "wrong"),
    [
        ({1: 5, 2: -1, 3: 6}, [1]),
        ({1: 5, 2: 100_000_001, 3: 6}, [1]),
        ({1: 5, 3: 6, 8: 1}, [2]),
        ({-1: 5, 1: 5, 3: 6}, [0]),
        ({0: 5, 1: 5, 3: 6}, [0]),
        ({1: 5, 3: 6, 2**31 - 1: 1}, [2]),
        ({3: 6, 1: 5}, [1]),
        ({1: 5, 3: 6, 2: 3}, [2]),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_at_its_own_number(
    client: Client, entries: dict[int, int], wrong: list[int]
) -> None:
    """Its neighbours are taken in all the same."""
    first = client.sequence + 1
    client.send_columns(entries)
    assert [(sequence, decision.reason) for sequence, decision in client.decisions] == [
        (first + position, Reason.INVALID_REPORT) for position in wrong
    ]
    assert client.answered == client.sequence
    assert client.grants == []
    for position, (handle, output) in enumerate(entries.items()):
        if position not in wrong:
            assert counts_of(client, f"r{handle}").output == output


def test_of_columns_of_different_lengths_nothing_is_taken(client: Client) -> None:
    """As many numbers as there are handles are used, the last of them is answered, and reports after them count."""
    client.send_columns({1: 5, 2: 6, 3: 7}, report(PROGRESS, "warm", INPUT._replace(output=3)), reasoning_tokens=[1])
    ((sequence, decision),) = client.decisions
    assert (sequence, decision.reason) == (client.sequence - 1, Reason.INVALID_REPORT)
    assert counts_of(client, "r1").output == 0
    assert counts_of(client, "warm").output == 3
    assert client.answered == client.sequence


def test_a_request_may_be_in_both_forms(client: Client) -> None:
    """The entry comes first; they merge by maximum."""
    client.send_columns({1: 9, 2: 4}, report(PROGRESS, "r1", INPUT._replace(output=8)))
    assert counts_of(client, "r1").output == 9
    client.send_columns({1: 10}, report(FINISH, "r1", INPUT._replace(output=12)))
    assert client.rig.node.services[SERVICE].finished["r1"].tally.counts.output == 12


def test_a_handle_ends_with_its_request_or_another_binding(client: Client) -> None:
    """By its finish, by another request, by another handle: what comes by it then is invalid."""
    client.send(report(FINISH, "r1", INPUT))
    client.send_columns({1: 5})
    assert client.decisions[-1][1].reason is Reason.INVALID_REPORT
    client.send(report(PROGRESS, "r2", INPUT, handle=3))
    client.decisions.clear()
    client.send_columns({2: 5})
    assert client.decisions[-1][1].reason is Reason.INVALID_REPORT
    client.send_columns({3: 6})
    assert counts_of(client, "r2").output == 6
    assert counts_of(client, "r3").output == 0


@pytest.mark.parametrize("handle", [-1, HANDLES_MAX + 1])
def test_a_handle_out_of_bounds_is_an_invalid_report(client: Client, handle: int) -> None:
    """Nothing is bound."""
    client.send(report(AUTHORIZE, "r9", INPUT, handle=handle))
    ((_, decision),) = client.decisions
    assert decision.reason is Reason.INVALID_REPORT


def test_a_handle_means_nothing_on_another_stream(fleet: Fleet, client: Client) -> None:
    """Not even the same number there."""
    other = Client(fleet["a"])
    other.send_columns({1: 50})
    assert other.decisions[-1][1].reason is Reason.INVALID_REPORT
    assert counts_of(client, "r1").output == 0


def test_a_slot_that_is_used_again_is_not_taken_for_the_one_before(fleet: Fleet, client: Client) -> None:
    """The request of a handle is ended by a call; its slot goes to another customer's; the old handle is said again."""
    slot, ended = request_of(client, "r2").slot, report(FINISH, "r2", INPUT._replace(output=3))
    calls = Client(fleet["a"])
    calls.session.keeps_open = False
    calls.send(ended)
    fleet.run(ms=200)
    assert "r2" not in client.rig.node.services[SERVICE].open
    other = Client(fleet["a"])
    other.say(report(AUTHORIZE, "theirs", INPUT))
    assert request_of(client, "theirs").slot == slot
    client.send_columns({1: 9, 2: 40, 3: 9})
    fleet.run(ms=200)
    assert counts_of(client, "theirs").output == 0
    assert counts_of(client, "r1").output == 9
    booked = client.rig.node.services[SERVICE].finished["r2"]
    assert booked.tally.counts.output == 3


def test_arrays_that_grow_between_a_binding_and_its_entry_change_nothing(fleet: Fleet, client: Client) -> None:
    """Requests of the same message, and of other streams, may make them grow."""
    running = client.rig.checkpoints.running
    before = running.lines
    client.send_columns(
        {1: 3}, *(report(AUTHORIZE, f"more{number}", INPUT, handle=4 + number) for number in range(200))
    )
    fleet.run(ms=500)
    assert running.lines is not before
    client.send_columns({1: 4, 2: 5, 203: 6})
    assert [counts_of(client, name).output for name in ("r1", "r2", "more199")] == [4, 5, 6]
    assert request_of(client, "r1").dirty


def test_what_leaves_the_fast_road_is_looked_at(fleet: Fleet, client: Client) -> None:
    """A report on another stream takes the request along: from then on entries here are as reports."""
    other = Client(fleet["a"])
    other.send(report(PROGRESS, "r1", INPUT._replace(output=6)))
    assert not passes(client, 1, "r1")
    client.send_columns({1: 7})
    assert counts_of(client, "r1").output == 7
    assert request_of(client, "r1").session is client.session
    client.close()
    request = request_of(client, "r1")
    assert request.running is not None
    assert request.running.lines[request.slot * 8] == -1


def test_slow_entries_are_decided_in_steps(fleet: Fleet, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """In between others have a turn, and the watermark does not pass what is not decided."""
    count = 100
    client.send(*(report(AUTHORIZE, f"s{number}", INPUT, handle=number + 1) for number in range(count)))
    fleet.run(seconds=3)
    client.hear()
    other = Client(fleet["a"])
    other.send(*(report(PROGRESS, f"s{number}", INPUT._replace(output=2)) for number in range(count)))
    monkeypatch.setattr(meter_stream, "SLOW_STEP", 16)
    began, seen = client.sequence, []

    def hear() -> None:
        Client.hear(client)
        seen.append(client.answered - began)

    client.hear = hear  # type: ignore[method-assign]  # watched
    client.send_columns(dict.fromkeys(range(1, count + 1), 3), report(PROGRESS, "warm", INPUT))
    assert len(seen) >= count // 16
    assert seen == sorted(seen)
    assert seen[0] < seen[-2] < seen[-1] == count + 1


def test_while_the_node_is_cut_off_what_goes_on_is_answered_by_name(fleet: Fleet, client: Client) -> None:
    """What does not go on stays on the fast road, and its grant lapses."""
    client.send_columns({1: 5})
    fleet.run(ms=200)
    fleet.control.reachable = False
    fleet.run(seconds=30)
    client.hear()
    assert not client.rig.node.leases_valid
    client.decisions.clear()
    client.send_columns({1: 6, 2: 7})
    goes_on = client.rig.node.goes_on(client.rig.node.services[SERVICE])
    assert len(client.decisions) == (2 if goes_on else 0)
    assert counts_of(client, "r1").output == 6
