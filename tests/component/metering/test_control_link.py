"""How often a node speaks to control, and what goes into an exchange when there is more to say than it takes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from metering_service.api.control import link
from metering_service.api.control.codec import encode_hello
from metering_service.api.control.link import REFUSED_CALLS_PER_EXCHANGE, ControlLink, _first
from metering_service.domain.lease import LeaseStatement
from metering_service.domain.pot import PotKind
from metering_service.usecases.leases.lease_keeper import LeaseKeeper
from tallygate._access.refusals import RefusedCalls
from tallygate.control.v1 import fleet_service_pb2 as pb
from tests.harness.metering.node_harness import Fleet, Rig
from tests.harness.metering.services import running
from tests.simulation.loop import SimulatedLoop

LEASES = 30
ONE_EXCHANGE = 20
ROUND_TRIP_S = 0.001
CANNOT_SPEAK = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())


class Replica:
    """A control service that is away until it is told to be back; remembers how many statements each exchange had."""

    def __init__(self, clock: SimulatedLoop) -> None:
        self.clock = clock
        self.away = True
        self.at_s: list[float] = []
        self.statements: list[int] = []
        self.refused: list[list[tuple[str, int]]] = []

    async def ExchangeLeases(self, request: pb.ExchangeLeasesRequest, timeout: float) -> pb.ExchangeLeasesResponse:  # noqa: ASYNC109  # as gRPC has it
        self.at_s.append(self.clock.time())
        self.statements.append(len(request.statements))
        self.refused.append([(calls.principal, calls.call_count) for calls in request.refused_calls])
        await asyncio.sleep(ROUND_TRIP_S)
        if self.away:
            raise CANNOT_SPEAK
        answers = [pb.LeaseAnswer(lease_id=statement.lease_id) for statement in request.statements]
        response = pb.ExchangeLeasesResponse(answers=answers)
        response.valid_for.seconds = 20
        return response


class Line:
    """A node's exchanges with such a replica, on simulated time; all of its leases have something to say."""

    def __init__(self) -> None:
        self.loop = SimulatedLoop()  # type: ignore[abstract]  # what nobody calls is missing
        self.replica = Replica(self.loop)
        self.rig = Fleet("a")["a"]
        for number in range(LEASES):
            lease(self.rig, number)
        committer: Any = SimpleNamespace(exchange_answered=0, commit_no=0)
        nothing: Any = None
        self.link = ControlLink(nothing, nothing, committer, database_id="")
        self.link.up_to_date.set()
        self.rig.node.control_answers = True

    def pass_time(self, seconds: float) -> None:
        """Let it exchange for so long, while somebody asks for an exchange all the time."""
        self.loop.run_until_complete(self._exchange(seconds))

    async def _exchange(self, seconds: float) -> None:
        stub: Any = self.replica
        task = asyncio.create_task(self.link._exchange(stub, self.rig.node, LeaseKeeper(self.rig.node)))
        for _ in range(round(seconds * 100)):
            self.link.exchange()
            await asyncio.sleep(0.01)
        task.cancel()


def lease(rig: Rig, number: int) -> None:
    """One more lease that says something in every exchange: it is closing, and a request holds some of it."""
    service = rig.node.service(f"accounts/acme/services/s{number}")
    service.config = running(service.name, postpaid_pays=True)
    lease = service.lease(PotKind.MONEY)
    lease.held, lease.closing = 1, True


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """One that has more to say than an exchange takes."""
    monkeypatch.setattr(link, "STATEMENTS_PER_EXCHANGE", ONE_EXCHANGE)
    return Line()


def test_control_is_not_asked_more_often_the_more_there_is_to_say(line: Line) -> None:
    """While it is away it is tried some times a second, whoever asks, and whatever did not fit into an exchange."""
    line.pass_time(2)
    pauses_s = [later - sooner for sooner, later in zip(line.replica.at_s, line.replica.at_s[1:], strict=False)]
    assert [round(pause_s - ROUND_TRIP_S, 6) for pause_s in pauses_s[:3]] == [0.05, 0.1, 0.2]
    assert {round(pause_s - ROUND_TRIP_S, 6) for pause_s in pauses_s[3:]} == {0.2}


def test_what_there_is_to_say_is_said_once_control_is_back(line: Line) -> None:
    """Until then it is not even put together; then all of it follows at once, in as many exchanges as it takes."""
    line.pass_time(1)
    assert line.replica.statements[0] == ONE_EXCHANGE
    assert set(line.replica.statements[1:]) == {0}
    away = len(line.replica.statements)
    line.replica.away = False
    line.pass_time(0.2)
    assert line.replica.statements[away : away + 3] == [0, ONE_EXCHANGE, ONE_EXCHANGE]
    first_s, *_, last_s = line.replica.at_s[away : away + 3]
    assert round(last_s - first_s, 6) == 2 * ROUND_TRIP_S


def statement(lease: int, *, needed: int) -> LeaseStatement:
    """Of one lease, for which somebody waits or not."""
    return LeaseStatement(f"lease-{lease}", "service", "uid", PotKind.MONEY, 0, 0, 0, 0, needed, closing=False)


@pytest.mark.parametrize(
    ("others", "waited_for", "taken_others", "taken_waited_for"),
    [(0, 0, 0, 0), (4, 0, 4, 0), (0, 12, 0, 10), (12, 0, 10, 0), (12, 3, 7, 3), (12, 12, 5, 5), (2, 12, 2, 8)],
)
def test_who_waits_goes_first_and_leaves_half(
    others: int, waited_for: int, taken_others: int, taken_waited_for: int
) -> None:
    """In the order in which they were said; neither kind can keep the other from being heard for ever."""
    said = [statement(number, needed=0) for number in range(others)]
    said += [statement(100 + number, needed=1) for number in range(waited_for)]
    first = _first(said, 10)
    assert [one.lease_id for one in first] == [
        *(f"lease-{100 + number}" for number in range(taken_waited_for)),
        *(f"lease-{number}" for number in range(taken_others)),
    ]


def test_refused_calls_are_told_until_control_has_heard(line: Line) -> None:
    """As levels: once each, again where more came, so many an exchange; what fails is said again."""
    for number in range(REFUSED_CALLS_PER_EXCHANGE + 20):
        line.link.refusals.note(refused(f"person:{number}"))
    line.pass_time(0.3)
    assert {len(told) for told in line.replica.refused} == {REFUSED_CALLS_PER_EXCHANGE}
    line.replica.away, line.replica.refused = False, []
    line.pass_time(1)
    first, second, *later = line.replica.refused
    assert (len(first), len(second)) == (REFUSED_CALLS_PER_EXCHANGE, 20)
    assert not any(later)
    line.link.refusals.note(refused("person:0"))
    line.replica.refused = []
    line.pass_time(1)
    assert [told for told in line.replica.refused if told] == [[("person:0", 2)]]


def refused(principal: str) -> RefusedCalls:
    """A call of this principal."""
    return RefusedCalls(1_000_000, principal, "192.0.2.1", "tallygate.metering.v1.MeteringService/Meter", "DENIED")


def test_a_hello_for_another_node_says_who_takes_it_over() -> None:
    """A node's own names nobody."""
    assert encode_hello("node-a", 2, "database", (), caretaker="node-b").caretaker == "node-b"
    assert encode_hello("node-a", 2, "database", ()).caretaker == ""


def test_a_hello_says_how_long_earlier_leases_stay_open() -> None:
    """As long as it is not over."""
    hello = encode_hello("node-a", 2, "database", (), leases_kept_ns=29_500_000_000)
    assert (hello.leases_kept_for.seconds, hello.leases_kept_for.nanos) == (29, 500_000_000)
    for over_ns in (999, 0, -1):
        assert not encode_hello("node-a", 2, "database", (), leases_kept_ns=over_ns).HasField("leases_kept_for")


class Stream:
    """A stream to control that ends at once; remembers what a node said on it."""

    def __init__(self) -> None:
        self.said: list[pb.WatchConfigRequest] = []

    async def write(self, message: pb.WatchConfigRequest) -> None:
        self.said.append(message)

    async def read(self) -> object:
        return grpc.aio.EOF

    def cancel(self) -> None:
        pass


def test_a_node_that_crashed_says_how_long_it_leaves_earlier_leases_open() -> None:
    """The resume window, less what has passed since it began again; then nothing more."""
    fleet, stream = Fleet("a"), Stream()
    fleet.crash("a")
    rig = fleet.start("a")
    storage: Any = rig.database
    nothing: Any = None
    line = ControlLink(nothing, storage, nothing, database_id="database")
    stub: Any = SimpleNamespace(WatchConfig=lambda: stream)

    async def connect() -> None:
        async for _ in line._messages(stub, rig.node, rig.keeper):
            pass

    for seconds in (5, 30):
        fleet.run(seconds=seconds)
        asyncio.run(connect())
    first, later = (message.hello for message in stream.said)
    assert first.leases_kept_for.seconds == 25
    assert not later.HasField("leases_kept_for")
