"""One stream: numbers, watermarks, names; and its unary siblings."""

import asyncio

import pytest

from metering_service.api.codec import decode_report
from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.errors import SequenceGapError
from metering_service.domain.report import Phase, Report
from metering_service.usecases import stream_memory
from metering_service.usecases.commits import checkpoints
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.unary import ask
from tests.harness.metering.encoded_reports import encode_report
from tests.harness.metering.node_harness import Client, Fleet, Rig, report
from tests.harness.metering.services import SERVICE, stopped, with_money, with_trial

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH


@pytest.fixture
def fleet() -> Fleet:
    """One node that knows a service with a trial."""
    fleet = Fleet()
    with_trial(fleet, 1_000_000)
    warm = Client(fleet["a"])
    warm.say(report(AUTHORIZE, "warm", Counts(1)))
    warm.say(report(FINISH, "warm", Counts(1)))
    return fleet


@pytest.mark.parametrize("first", [0, 2, 3, 5])
def test_numbers_without_gaps(client: Client, first: int) -> None:
    """Neither a gap nor a repeat; the error says what comes next."""
    client.send(report(AUTHORIZE, "r1"), report(AUTHORIZE, "r2"), report(AUTHORIZE, "r3"))
    with pytest.raises(SequenceGapError, match="4 comes next") as error:
        client.session.take(first, [encode_report(report(AUTHORIZE, "r4"))], decode_report)
    assert (error.value.expected, error.value.actual) == (4, first)


def test_a_heartbeat_is_answered(client: Client) -> None:
    """With the watermarks and a renewal, whatever number it bears."""
    client.session.take(99, [], decode_report)
    out = client.session.drain()
    assert out is not None
    assert (out.answered_through, out.durable_through, out.decisions) == (0, 0, ())
    assert out.grants_valid_for_ms == 20_000
    assert client.session.drain() is None


def test_malformed_reports_harm_nobody(client: Client) -> None:
    """Each is refused by itself; its neighbours are decided on, and nothing of it is kept."""
    bad = [
        report(AUTHORIZE, ""),
        report(AUTHORIZE, "x" * 65),
        Report("r1", SERVICE, None, Counts()),
        report(PROGRESS, "r1", Counts(-1)),
        report(FINISH, "r1", Counts(1 << 40)),
        report(AUTHORIZE, "nameless", service=""),
        report(AUTHORIZE, "r1", labels=(("", ""),)),
    ]
    client.send(report(AUTHORIZE, "ok-1", Counts(1)), *bad, report(AUTHORIZE, "ok-2", Counts(1)))
    reasons = {sequence: decision.reason for sequence, decision in client.decisions}
    assert reasons == {1: None, **dict.fromkeys(range(2, 9), Reason.INVALID_REPORT), 9: None}
    assert (client.answered, client.durable) == (9, 9)
    assert set(client.rig.node.services[SERVICE].open) == {"ok-1", "ok-2"}


def test_a_token_that_is_garbage_is_no_reason_to_refuse(client: Client) -> None:
    """The report is taken as one without a token."""
    for number, garbage in enumerate((b"\xff", b"[" * 1_000, b'["a"]')):
        decision = client.say(report(AUTHORIZE, f"r{number}", Counts(1), resume=garbage))
        assert decision is not None
        assert decision.allowed


def test_answers_wait_behind_an_authorisation_and_nothing_else(fleet: Fleet) -> None:
    """What comes after it is answered by name at once; the watermark follows when it is decided."""
    fleet.control.put(with_money(fleet, 0))
    client = Client(fleet["a"])
    fleet["a"].linked = False
    client.send(
        report(AUTHORIZE, "r1", Counts(1), service="accounts/acme/services/new"),
        report(AUTHORIZE, "r2", Counts(-1)),
        report(FINISH, "r3", Counts(1)),
    )
    assert client.answered == 0
    assert [sequence for sequence, _ in client.decisions] == [2]
    fleet.run(ms=120)
    client.hear()
    assert client.answered == 3
    assert [sequence for sequence, _ in client.decisions] == [2, 1]


def test_durable_is_what_is_committed(fleet: Fleet, client: Client) -> None:
    """Progress waits for its checkpoint, a finish for its booking, what changes nothing for nothing."""
    client.say(report(AUTHORIZE, "r1", Counts(10)))
    assert client.durable == 1
    client.say(report(PROGRESS, "r1", Counts(10, output=1)))
    client.say(report(PROGRESS, "r1", Counts(10, output=1)))
    assert (client.answered, client.durable) == (3, 1)
    fleet["a"].commit(checkpoints=False)
    client.hear()
    assert client.durable == 1
    fleet["a"].commit()
    client.hear()
    assert client.durable == 3
    client.say(report(PROGRESS, "r1", Counts(10, output=1)))
    assert client.durable == 4
    client.say(report(FINISH, "r1", Counts(10, output=1)))
    assert client.durable == 4
    fleet["a"].commit(checkpoints=False)
    client.hear()
    assert client.durable == 5


def test_durable_is_in_order_over_requests_and_messages(fleet: Fleet, client: Client) -> None:
    """A later message that needs no commit waits for an earlier one that does."""
    client.send(report(FINISH, "r1", Counts(1)), report(AUTHORIZE, "r2", Counts(1)))
    fleet["a"].look()
    client.send(report(AUTHORIZE, "r3", Counts(1)))
    assert (client.answered, client.durable) == (3, 0)
    fleet["a"].commit()
    client.hear()
    assert client.durable == 3


def test_an_outage_of_storage_delays_receipts_and_not_decisions() -> None:
    """Up to the backlog's limit; beyond it nothing new begins. When it is over all is written, once."""
    fleet = Fleet(settings=NodeSettings(backlog_max=5))
    with_trial(fleet, 1_000_000)
    client = Client(fleet["a"])
    for number in range(5):
        decision = client.say(report(AUTHORIZE, f"r{number}", Counts(10)))
        assert decision is not None
        assert decision.allowed
    fleet["a"].commit()
    fleet.database.down = True
    for number in range(5):
        client.say(report(FINISH, f"r{number}", Counts(10), want_receipt=True))
        fleet["a"].commit()
    assert client.answered == 10
    assert client.durable == 5
    assert fleet["a"].buffer.overfull
    refused = client.say(report(AUTHORIZE, "r9", Counts(10)))
    assert refused is not None
    assert (refused.reason, refused.retryable) == (Reason.STORAGE_UNAVAILABLE, True)
    fleet.database.down, fleet.database.deaf = False, True
    for _ in range(4):
        fleet["a"].commit()
    client.hear()
    assert client.durable == 11
    (cell,) = fleet.database.aggregates.values()
    assert (cell.request_count, cell.usage.total) == (5, 50)
    receipts = [decision.receipt for _, decision in client.decisions if decision.receipt is not None]
    assert [receipt.trial.total for receipt in receipts] == [10] * 5
    decision = client.say(report(AUTHORIZE, "r9", Counts(10)))
    assert decision is not None
    assert decision.allowed


def test_a_look_into_a_database_that_is_down_is_waited_for(fleet: Fleet, client: Client) -> None:
    """A resumed request goes on within the grant that it brings; beyond it the node could not tell."""
    other = Client(fleet.start("b"))
    grants = [other.say(report(AUTHORIZE, name, Counts(10), max_output_tokens=20)) for name in ("r1", "r2", "r3")]
    tokens = [said.grant.resume for said in grants if said is not None and said.grant is not None]
    fleet.database.down = True
    client.send(
        report(PROGRESS, "r1", Counts(10, output=5), resume=tokens[0]),
        report(PROGRESS, "r2", Counts(10, output=20), resume=tokens[1]),
        report(AUTHORIZE, "r3", Counts(10), resume=tokens[2]),
    )
    fleet.run(ms=120)
    client.hear()
    assert [(sequence, decision.reason) for sequence, decision in client.decisions] == [
        (2, Reason.STORAGE_UNAVAILABLE),
        (3, Reason.STORAGE_UNAVAILABLE),
    ]
    assert (client.answered, client.durable) == (3, 0)
    fleet.database.down = False
    fleet.run(ms=400)
    client.hear()
    assert client.durable == 3
    assert set(fleet["a"].node.services[SERVICE].open) == {"r1", "r2"}


def test_a_service_is_named_once(fleet: Fleet, client: Client) -> None:
    """Later reports of the same request on the same stream may leave it out; on another stream they may not."""
    client.say(report(AUTHORIZE, "r1", Counts(10)))
    assert client.say(report(PROGRESS, "r1", Counts(10, output=1), service="")) is None
    client.say(report(FINISH, "r1", Counts(10, output=2), service="", want_receipt=True))
    client.say(report(FINISH, "r1", Counts(10, output=3), service="", want_receipt=True))
    fleet["a"].commit()
    said = client.said(4)
    assert said is not None
    assert said.receipt is not None
    assert said.receipt.revision == 2
    other = Client(fleet["a"]).say(report(FINISH, "r1", Counts(10), service=""))
    assert other is not None
    assert other.reason is Reason.INVALID_REPORT


def test_names_do_not_fill_the_memory(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of finished and refused requests are forgotten in time; those that run are not."""
    monkeypatch.setattr(stream_memory, "NAMES_MAX", 10)
    client.say(report(AUTHORIZE, "long", Counts(1)))
    for number in range(50):
        client.say(report(AUTHORIZE, f"r{number}", Counts(1)))
        client.say(report(FINISH, f"r{number}", Counts(1), service=""))
    assert len(client.session._memory._names) <= 11
    assert client.say(report(PROGRESS, "long", Counts(1, output=1), service="")) is None


def test_streams_are_told_of_their_own_requests(fleet: Fleet, client: Client) -> None:
    """A stop goes to the stream that spoke of the request last, and to none that broke."""
    other, broken = Client(fleet["a"]), Client(fleet["a"])
    client.say(report(AUTHORIZE, "r1", Counts(1)))
    other.say(report(PROGRESS, "r1", Counts(1)))
    broken.say(report(AUTHORIZE, "r2", Counts(1)))
    broken.close()
    fleet.control.put(stopped(fleet.control.services[SERVICE]))
    fleet["a"].pump()
    assert [stream.said(None) is None for stream in (client, other, broken)] == [True, False, True]
    resumed = client.say(report(PROGRESS, "r2", Counts(1)))
    assert resumed is not None
    assert resumed.reason is Reason.POSTPAID_DISABLED


async def answered(rig: Rig, said: Report, *, commit: bool = True) -> Decision:
    """One unary call, the node doing its work meanwhile."""
    call = asyncio.create_task(ask(rig.node, said))
    for _ in range(5):
        await asyncio.sleep(0)
        rig.pump()
        if commit:
            rig.commit()
    assert call.done()
    return call.result()


async def test_unary_calls_are_answered_like_reports_on_a_stream(fleet: Fleet) -> None:
    """Authorise, progress, finish; after a finish always with the receipt."""
    assert (await answered(fleet["a"], report(AUTHORIZE, counts=Counts(10)), commit=False)).grant is not None
    progress = await answered(fleet["a"], report(PROGRESS, counts=Counts(10, output=1)))
    assert (progress.allowed, progress.grant, progress.config_version) == (True, None, 1)
    finish = await answered(fleet["a"], report(FINISH, counts=Counts(10, output=1), want_receipt=True))
    assert finish.receipt is not None
    assert finish.receipt.trial.total == 11
    again = await answered(fleet["a"], report(AUTHORIZE, counts=Counts(10)))
    assert again.reason is Reason.REQUEST_ID_REUSED


async def test_a_unary_finish_is_answered_after_the_commit(fleet: Fleet) -> None:
    """Not before."""
    call = asyncio.create_task(ask(fleet["a"].node, report(FINISH, counts=Counts(10))))
    await asyncio.sleep(0)
    fleet["a"].pump()
    await asyncio.sleep(0)
    assert not call.done()
    fleet["a"].commit()
    assert (await call).allowed


async def test_a_request_of_a_unary_caller_stays_open_for_the_window(fleet: Fleet) -> None:
    """Each call begins it anew; then it is settled."""
    await answered(fleet["a"], report(AUTHORIZE, counts=Counts(10)))
    fleet.run(seconds=20)
    await answered(fleet["a"], report(PROGRESS, counts=Counts(10, output=1)))
    fleet.run(seconds=20)
    assert "r1" in fleet["a"].node.services[SERVICE].open
    fleet.run(seconds=12)
    assert fleet["a"].node.services[SERVICE].open == {}


async def test_whoever_was_heard_of_again_is_silent_no_longer(fleet: Fleet) -> None:
    """Each request has the window from when it was heard of last, whichever of them began first."""
    await answered(fleet["a"], report(AUTHORIZE, "r1", counts=Counts(10)))
    await answered(fleet["a"], report(AUTHORIZE, "r2", counts=Counts(10)))
    fleet.run(seconds=20)
    await answered(fleet["a"], report(PROGRESS, "r1", counts=Counts(10, output=1)))
    fleet.run(seconds=12)
    assert list(fleet["a"].node.services[SERVICE].open) == ["r1"]
    fleet.run(seconds=20)
    assert fleet["a"].node.services[SERVICE].open == {}


async def test_a_malformed_unary_report_is_refused_at_once(fleet: Fleet) -> None:
    """As a decision, not as an error."""
    assert (await answered(fleet["a"], report(FINISH, counts=Counts(-1)))).reason is Reason.INVALID_REPORT


def test_what_repeats_counts_that_a_checkpoint_has_gathered_is_durable_with_its_commit(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decisions come between the steps of a checkpoint: what it has taken is not committed yet."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_STEP", 1)
    rig, client, other = fleet["a"], Client(fleet["a"]), Client(fleet["a"])
    names = ["r1", "r2", "r3"]
    client.send(*(report(AUTHORIZE, name, Counts(10)) for name in names))
    fleet.run(ms=400)
    client.send(*(report(PROGRESS, name, Counts(10, output=1)) for name in names))
    steps = rig.checkpoints.sweep(begins=True)
    next(steps)
    assert rig.checkpoints.is_sweeping
    (taken,) = (name for name in names if not rig.node.services[SERVICE].open[name].dirty)
    other.send(report(PROGRESS, taken, Counts(10, output=1)))
    assert list(steps) == [None]
    assert rig.buffer.begin_commit() is not None
    assert (client.durable, other.durable) == (3, 0)
    rig.buffer.end_commit()
    other.hear()
    assert other.durable == 1


def test_reports_of_a_request_that_another_stream_took_along_are_looked_at(client: Client) -> None:
    """They take it back, with all that was counted meanwhile; so nothing passes by what this stream knew of it."""
    client.say(report(AUTHORIZE, "r1", Counts(10)))
    client.send(report(PROGRESS, "r1", Counts(10, output=5)))
    client.send(report(PROGRESS, "r1", Counts(10, output=6)))
    other = Client(client.rig)
    other.send(report(PROGRESS, "r1", Counts(10, output=20)))
    client.send(report(PROGRESS, "r1", Counts(10, output=7), service=""))
    request = client.rig.node.services[SERVICE].open["r1"]
    assert request.counts.output == 20
    assert request.session is client.session


def test_reports_of_a_request_that_ended_elsewhere_are_not_counted_for_another(client: Client, fleet: Fleet) -> None:
    """Which has by now what its counts were kept in."""
    client.say(report(AUTHORIZE, "r1", Counts(10)))
    client.send(report(PROGRESS, "r1", Counts(10, output=5)))
    other = Client(client.rig)
    other.send(report(FINISH, "r1", Counts(10, output=5)))
    fleet.run(ms=200)
    other.say(report(AUTHORIZE, "r2", Counts(10)))
    client.send(report(PROGRESS, "r1", Counts(10, output=9), service=""))
    assert client.rig.node.services[SERVICE].open["r2"].counts.output == 0
