"""What waits is bounded, and nothing is lost by that: what is not taken in stays with its server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metering_service.api import metering_servicer
from metering_service.api.metering_servicer import MeteringServicer
from metering_service.domain.counts import Counts
from metering_service.domain.decision import Reason
from metering_service.domain.errors import OverloadedError, StorageUnavailableError
from metering_service.domain.pot import PotKind
from metering_service.domain.report import Phase
from metering_service.usecases import unary
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.stream_watermark import PENDING_MAX
from metering_service.usecases.unary import ask
from tallygate.metering.v1 import metering_service_pb2 as pb
from tallygate.metering.v1 import report_pb2, token_usage_pb2
from tests.harness.metering.node_harness import Client, Fleet, report
from tests.harness.metering.services import SERVICE, UID, with_money

AUTHORIZE, PROGRESS, FINISH = Phase.AUTHORIZE, Phase.PROGRESS, Phase.FINISH
MESSAGES, REPORTS = 40, 10
UNREAD_BEYOND = 50


class Server:
    """An inference server's stream as the servicer reads and writes it: `taken` messages were asked for."""

    def __init__(self, servicer: MeteringServicer, number: int) -> None:
        self.number = number
        self.taken = 0
        self.durable = 0
        self.task = asyncio.create_task(self._listen(servicer))

    async def _listen(self, servicer: MeteringServicer) -> None:
        context: Any = None
        async for response in servicer.Meter(self._speak(), context):
            self.durable = response.durable_through

    async def _speak(self) -> AsyncIterator[pb.MeterRequest]:
        """Finishes of requests that nobody asked for."""
        for number in range(MESSAGES):
            self.taken += 1
            reports = [
                report_pb2.TokenReport(
                    request_id=f"r{self.number}-{number}-{each}",
                    service=SERVICE,
                    phase=report_pb2.REPORT_PHASE_FINISH,
                    usage=token_usage_pb2.TokenUsage(input_tokens=1),
                )
                for each in range(REPORTS)
            ]
            yield pb.MeterRequest(first_sequence=number * REPORTS + 1, reports=reports)


async def turn() -> None:
    """Let tasks go on, those that wait for room included."""
    for _ in range(5):
        await asyncio.sleep(0.002)


async def test_what_one_stream_is_told_goes_out_before_the_next_is_heard() -> None:
    """However much all of them have said: nobody's answer waits for everybody else's reports."""
    fleet = Fleet()
    with_money(fleet, 1_000_000)
    Client(fleet["a"]).say(report(AUTHORIZE, "warm", max_output_tokens=0))
    fleet.run(seconds=1)
    running = fleet["a"].node.services[SERVICE].open
    servicer = MeteringServicer(fleet["a"].node)
    running_when_told: list[int] = []

    async def listen(request_id: str) -> None:
        async def speak() -> AsyncIterator[pb.MeterRequest]:
            said = report_pb2.TokenReport(request_id=request_id, service=SERVICE, max_output_tokens=0)
            said.phase = report_pb2.REPORT_PHASE_AUTHORIZE
            yield pb.MeterRequest(first_sequence=1, reports=[said])

        context: Any = None
        async for _ in servicer.Meter(speak(), context):
            running_when_told.append(len(running))
            return

    await asyncio.gather(*(listen(f"stream{number}") for number in range(5)))
    assert running_when_told == [2, 3, 4, 5, 6]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is looked for often."""
    monkeypatch.setattr(metering_servicer, "FULL_POLL_S", 0.001)


@pytest.mark.parametrize("away", ["control", "database"])
async def test_streams_are_not_read_on_while_too_much_waits(away: str) -> None:
    """However many streams come, or come again; once control or the database is back all of it is booked, once."""
    fleet = Fleet(settings=NodeSettings(unread_beyond=UNREAD_BEYOND))
    with_money(fleet, 1_000_000)
    rig = fleet["a"]
    if away == "control":
        rig.linked = False
    else:
        Client(rig).say(report(AUTHORIZE, "warm", max_output_tokens=0))
        fleet.database.down = True
    servicer = MeteringServicer(rig.node)
    servers = [Server(servicer, number) for number in range(3)]
    await turn()
    fleet.run(seconds=10)
    servers += [Server(servicer, number) for number in range(3)]
    await turn()
    assert UNREAD_BEYOND <= rig.node.waiting_count < UNREAD_BEYOND + REPORTS
    assert sum(server.taken for server in servers) <= UNREAD_BEYOND // REPORTS + len(servers)
    with pytest.raises(OverloadedError, match="not taken in"):
        await ask(rig.node, report(FINISH, "unary", Counts(1)))
    rig.linked, fleet.database.down = True, False
    for _ in range(200):
        fleet.run(ms=40)
        await turn()
        if all(server.durable == MESSAGES * REPORTS for server in servers):
            break
    await asyncio.gather(*(server.task for server in servers))
    fleet.run(seconds=2)
    assert rig.node.waiting_count == 0
    assert fleet.control.spent[fleet.control.key(UID, PotKind.MONEY)] == 3 * MESSAGES * REPORTS


def test_progress_while_the_database_is_away_takes_no_room() -> None:
    """However long it is away, what waits for its return is bounded; then all of it is durable, in order."""
    fleet = Fleet()
    with_money(fleet, 1_000_000)
    client = Client(fleet["a"])
    client.say(report(AUTHORIZE, "r1", Counts(100)))
    client.say(report(AUTHORIZE, "r2", Counts(100)))
    fleet.run(ms=200)
    fleet.database.down = True
    durable = client.durable
    for output_tokens in range(1, 401):
        for request_id in ("r1", "r2"):
            client.send(report(PROGRESS, request_id, Counts(100, output=output_tokens)))
        fleet.run(ms=20)
    assert client.answered == client.sequence
    assert client.durable == durable
    assert client.session._watermark.waiting <= PENDING_MAX
    assert all(len(callbacks) <= PENDING_MAX for callbacks in fleet["a"].buffer._await_counts.values())
    fleet.database.down = False
    fleet.run(ms=200)
    client.hear()
    assert client.durable == client.sequence
    assert {record.counts.output for record in fleet.database.requests.values()} == {400}
    client.send(report(FINISH, "r1", Counts(100, output=400)), report(FINISH, "r2", Counts(100, output=401)))
    fleet.run(ms=100)
    client.hear()
    assert client.durable == client.sequence


def waits(fleet: Fleet) -> int:
    """How much is kept, of all that is to be done once the database is back."""
    gathering = fleet["a"].buffer._pending
    marks = [*fleet["a"].buffer._await_counts.values()]
    return len(gathering.callbacks) + len(gathering.durable_callbacks) + sum(map(len, marks))


@pytest.mark.parametrize("phase", [PROGRESS, FINISH])
@pytest.mark.parametrize("streams", [1, 2])
def test_what_is_said_again_while_the_database_is_away_takes_no_room(phase: Phase, streams: int) -> None:
    """However often, and whether one stream says it or several take turns; it is durable when what it repeats is."""
    fleet = Fleet()
    with_money(fleet, 1_000_000)
    clients = [Client(fleet["a"]) for _ in range(streams)]
    clients[0].say(report(AUTHORIZE, counts=Counts(100)))
    fleet.run(ms=200)
    fleet.database.down = True
    durable = [client.durable for client in clients]
    for _ in range(500):
        for client in clients:
            client.send(*[report(phase, counts=Counts(100, output=5))] * 3)
    assert waits(fleet) <= streams * (PENDING_MAX + 1)
    fleet.run(ms=200)
    assert waits(fleet) <= streams * (PENDING_MAX + 1)
    assert [client.durable for client in clients] == durable
    fleet.database.down = False
    fleet.run(ms=200)
    for client in clients:
        client.hear()
        assert client.durable == client.sequence
    assert [record.counts for record in fleet.database.requests.values()] == [Counts(100, output=5)]


def test_receipts_of_what_is_said_again_are_reports_that_wait() -> None:
    """They are bounded as those: no stream is read on beyond so many. Each is told once the database is back."""
    fleet = Fleet(settings=NodeSettings(unread_beyond=UNREAD_BEYOND))
    with_money(fleet, 1_000_000)
    rig, client = fleet["a"], Client(fleet["a"])
    finished = report(FINISH, counts=Counts(100, output=5), want_receipt=True)
    client.say(report(AUTHORIZE, counts=Counts(100)))
    fleet.run(ms=200)
    fleet.database.down = True
    for said in range(UNREAD_BEYOND + 1):
        assert rig.node.waiting_count == max(0, said - 1)
        client.send(finished)
    assert rig.node.room.is_full
    fleet.database.down = False
    fleet.run(ms=200)
    client.hear()
    assert rig.node.waiting_count == 0
    told = [decision.receipt for sequence, decision in client.decisions if sequence is not None and sequence > 1]
    assert len(told) == UNREAD_BEYOND + 1
    assert len({receipt and receipt.cost_nanos for receipt in told}) == 1
    client.send(finished)
    assert rig.node.waiting_count == 0


@pytest.mark.parametrize("phase", [PROGRESS, FINISH])
async def test_calls_are_bounded_and_streams_go_on(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers that gave up are counted, too: what they reported is kept until the database is back."""
    monkeypatch.setattr(unary, "WAIT_MAX_S", 0)
    fleet = Fleet(settings=NodeSettings(unread_beyond=UNREAD_BEYOND))
    with_money(fleet, 1_000_000)
    rig = fleet["a"]
    Client(rig).say(report(AUTHORIZE, counts=Counts(100)))
    fleet.run(ms=200)
    fleet.database.down = True
    for output_tokens in range(UNREAD_BEYOND):
        with pytest.raises(StorageUnavailableError):
            await ask(rig.node, report(phase, counts=Counts(100, output=output_tokens + 1)))
    with pytest.raises(OverloadedError, match="not taken in"):
        await ask(rig.node, report(phase, counts=Counts(100, output=5)))
    refused = await ask(rig.node, report(AUTHORIZE, "r2", Counts(5)))
    assert refused.reason is Reason.OVERLOADED
    assert not rig.node.room.is_full
    fleet.database.down = False
    fleet.run(seconds=1)
    assert rig.node.calls_count == 0
