"""While control is away, what one account or one stream says fills no node: others go on, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from metering_service.api import metering_servicer
from metering_service.api.metering_servicer import MeteringServicer
from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision, Reason
from metering_service.domain.errors import OverloadedError
from metering_service.domain.report import Phase
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.unary import ask
from tallygate.metering.v1 import metering_service_pb2 as pb
from tallygate.metering.v1 import report_pb2, token_usage_pb2
from tests.harness.metering.node_harness import Client, Fleet, Rig, report
from tests.harness.metering.services import SERVICE, running, with_money

AUTHORIZE, FINISH = Phase.AUTHORIZE, Phase.FINISH
WAITING, UNREAD = 20, 50
MESSAGES, REPORTS = 15, 10
SETTINGS = NodeSettings(waiting_max=200, unread_beyond=400, account_waiting_max=WAITING, account_unread_beyond=UNREAD)


def loud(number: int) -> str:
    """A service of the noisy account that this node does not know."""
    return f"accounts/loud/services/s{number}"


def made_up(number: int) -> str:
    """A service of an account of its own."""
    return f"accounts/made-up-{number}/services/s"


def quiet(number: int) -> str:
    """The service of an account that this node knows, and that runs."""
    return SERVICE


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A node that knows one service, and has just lost touch with control."""
    monkeypatch.setattr(metering_servicer, "FULL_POLL_S", 0.001)
    fleet = Fleet(settings=SETTINGS)
    with_money(fleet, 10_000_000)
    Client(fleet["a"]).say(report(AUTHORIZE, "warm", Counts(10_000)))
    fleet.run(ms=200)
    fleet["a"].linked = False
    return fleet["a"]


def finishes(rig: Rig, count: int, service: Callable[[int], str] = loud) -> Client:
    """So many finishes, each on a service of its own, in one message of a stream."""
    client = Client(rig)
    client.send(*(report(FINISH, f"f{number}", Counts(1), service=service(number)) for number in range(count)))
    return client


def reason_of(decision: Decision | None) -> Reason | None:
    """Why not; None where it may run, or where it waits."""
    return decision.reason if decision is not None and not decision.allowed else None


@pytest.mark.parametrize(
    ("waiting", "refused"),
    [(0, False), (1, False), (WAITING - 1, False), (WAITING, True), (WAITING + 1, True), (UNREAD, True)],
)
def test_nothing_begins_in_an_account_of_which_too_much_waits(rig: Rig, waiting: int, refused: bool) -> None:
    """On no stream of it; in another account everything begins, and ends."""
    finishes(rig, waiting)
    answer = Client(rig).say(report(AUTHORIZE, "new", Counts(1), service=loud(1_000)))
    assert reason_of(answer) is (Reason.OVERLOADED if refused else None)
    assert rig.node.waiting_count == waiting + (not refused)
    other = Client(rig)
    granted = other.say(report(AUTHORIZE, "other", Counts(1)))
    assert granted is not None
    assert granted.allowed
    other.say(report(FINISH, "other", Counts(1)))
    rig.commit()
    other.hear()
    assert other.durable == 2


@pytest.mark.parametrize("waiting", [0, 1, UNREAD - 1, UNREAD])
async def test_calls_of_an_account_at_its_bound_are_not_taken_in(rig: Rig, waiting: int) -> None:
    """A call is told so; calls of another account are answered."""
    finishes(rig, waiting)
    call = asyncio.ensure_future(ask(rig.node, report(FINISH, "call", Counts(1), service=loud(1_000))))
    await asyncio.sleep(0)
    if waiting < UNREAD:
        assert rig.node.waiting_count == waiting + 1
        call.cancel()
    else:
        with pytest.raises(OverloadedError, match="not taken in"):
            await call
    assert (await ask(rig.node, report(AUTHORIZE, "other", Counts(1)))).allowed


class Server:
    """An inference server's stream as the servicer reads and writes it: `taken` messages were asked for."""

    def __init__(self, servicer: MeteringServicer, name: str, service: Callable[[int], str]) -> None:
        self.name = name
        self.service = service
        self.taken = 0
        self.durable = 0
        self.task = asyncio.create_task(self._listen(servicer))

    async def _listen(self, servicer: MeteringServicer) -> None:
        context: Any = None
        async for response in servicer.Meter(self._speak(), context):
            self.durable = response.durable_through

    async def _speak(self) -> AsyncIterator[pb.MeterRequest]:
        for number in range(MESSAGES):
            self.taken += 1
            first = number * REPORTS
            yield pb.MeterRequest(
                first_sequence=first + 1,
                reports=[
                    report_pb2.TokenReport(
                        request_id=f"{self.name}-{each}",
                        service=self.service(each),
                        phase=report_pb2.REPORT_PHASE_FINISH,
                        usage=token_usage_pb2.TokenUsage(input_tokens=1),
                    )
                    for each in range(first, first + REPORTS)
                ],
            )


async def advance(rig: Rig, fleet_steps: int, until: Callable[[], bool]) -> None:
    """Let the node work, and those who speak to it, until something is so."""
    for _ in range(fleet_steps):
        if until():
            return
        rig.control.clock.advance(us=20_000)
        rig.beat()
        for _ in range(5):
            await asyncio.sleep(0.002)
    assert until()


async def test_streams_of_an_account_at_its_bound_wait_and_others_go_on(rig: Rig) -> None:
    """However many streams it opens. Once control is back all of it is booked, once."""
    for number in range(MESSAGES * REPORTS):
        rig.control.put(running(loud(number), postpaid_pays=True, debt_allowed=True))
    servicer, everything = MeteringServicer(rig.node), MESSAGES * REPORTS
    noisy = [Server(servicer, f"noisy{number}", loud) for number in range(3)]
    await advance(rig, 200, lambda: all(server.taken for server in noisy) and rig.node.waiting_count >= UNREAD)
    noisy += [Server(servicer, f"noisy{number}", loud) for number in range(3, 6)]
    other = Server(servicer, "other", quiet)
    await advance(rig, 400, lambda: other.durable == everything)
    assert rig.node.room.count == UNREAD
    assert sum(server.taken for server in noisy) <= UNREAD // REPORTS + len(noisy)
    rig.linked = True
    await advance(rig, 2_000, lambda: all(server.durable == everything for server in noisy))
    await asyncio.gather(other.task, *(server.task for server in noisy))
    assert rig.node.waiting_count == 0
    assert not rig.node.room.full_accounts
    booked = [record for record in rig.database.requests.values() if record.request_id.startswith("noisy")]
    assert len(booked) == len(noisy) * everything
    assert sum(record.receipt.usage.total for record in booked) == len(noisy) * everything


async def test_a_stream_that_makes_up_accounts_is_bounded_by_itself(rig: Rig) -> None:
    """Its caller may speak of every account, so nothing says whose its reports are."""
    servicer = MeteringServicer(rig.node)
    noisy, other = Server(servicer, "noisy", made_up), Server(servicer, "other", quiet)
    await advance(rig, 400, lambda: other.durable == MESSAGES * REPORTS)
    assert rig.node.room.count == UNREAD
    assert noisy.taken == UNREAD // REPORTS + 1
    rig.linked = True
    await advance(rig, 2_000, lambda: noisy.durable == MESSAGES * REPORTS)
    await asyncio.gather(noisy.task, other.task)


def test_nothing_begins_on_a_stream_of_which_too_much_waits(rig: Rig) -> None:
    """Others may say the same."""
    noisy = finishes(rig, WAITING, made_up)
    assert reason_of(noisy.say(report(AUTHORIZE, "new", Counts(1), service=made_up(1_000)))) is Reason.OVERLOADED
    assert reason_of(Client(rig).say(report(AUTHORIZE, "new", Counts(1), service=made_up(1_000)))) is None


def test_a_stream_that_is_gone_leaves_no_count_behind(rig: Rig) -> None:
    """What it wanted to begin waits no longer; what it finished does, until control has said what that is."""
    client = finishes(rig, 3)
    client.send(report(AUTHORIZE, "new", Counts(1), service=loud(0)))
    assert rig.node.room.count == 4
    client.close()
    assert rig.node.room.count == 3
    rig.linked = True
    rig.pump()
    assert (rig.node.room.count, rig.node.room._by_account, rig.node.room._by_stream) == (0, {}, {})
