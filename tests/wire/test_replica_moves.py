"""A node whose replica of control goes: what is exchanged meanwhile waits for the next one, and does not fail."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service import bootstrap as control_bootstrap
from control_service.bootstrap import assemble
from control_service.storage.database import MIGRATIONS
from metering_service.api.control import link, replicas
from metering_service.api.control.replicas import CHANNEL_OPTIONS, connect_to
from metering_service.assembly import Assembly, put_together
from metering_service.bootstrap import new_id
from metering_service.domain.counts import Counts
from metering_service.domain.key_ring import SECRET_BYTES
from metering_service.domain.report import Phase, Report
from metering_service.storage import SqlRecorder
from metering_service.usecases import unary
from metering_service.usecases.lookups.resume_keys import ResumeKeys
from metering_service.usecases.settings import NodeSettings
from tallygate._server.clock import ManualClock
from tallygate._server.database.engine import create_engine
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import fleet_service_pb2_grpc
from tests.harness.migrated import migrated_url
from tests.harness.patience import PATIENCE_S, until
from tests.harness.wire.control_fleet import SERVICE, Control
from tests.harness.wire.relay import Relay, relaying

HELLO = pb.WatchConfigRequest(hello=pb.NodeHello(node="node-a", epoch=1))


@dataclass(eq=False)
class Replica(fleet_service_pb2_grpc.FleetServiceServicer):
    """A replica that says what a test lets it say, and keeps what it was asked."""

    asked: list[str] = field(default_factory=list)
    may_greet: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def WatchConfig(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.WatchConfigResponse]:
        async for _ in request_iterator:
            self.asked.append("hello")
            await self.may_greet.wait()
            yield pb.WatchConfigResponse()

    async def ExchangeLeases(self, request: pb.ExchangeLeasesRequest, context: Any) -> pb.ExchangeLeasesResponse:
        self.asked.append(f"exchange {request.exchange_number}")
        await self.may_answer.wait()
        return pb.ExchangeLeasesResponse()


@dataclass(eq=False)
class Line:
    """A line to two such replicas, by relays that break."""

    servers: tuple[Replica, Replica]
    relays: tuple[Relay, Relay]
    stub: Any
    stream: Any = None

    async def hello(self) -> None:
        """Open a stream to the next replica; the one before has ended."""
        if self.stream is not None:
            self.stream.cancel()
        self.stream = self.stub.WatchConfig()
        await self.stream.write(HELLO)

    async def follow_first(self) -> None:
        """Say hello to the first replica, and hear of it."""
        self.servers[0].may_greet.set()
        await self.hello()
        await self.stream.read()

    def is_followed(self) -> bool:
        """Whether either replica was asked for anything."""
        return any(replica.asked for replica in self.servers)

    def exchange(self, number: int = 1) -> "asyncio.Task[pb.ExchangeLeasesResponse]":
        """Begin one that takes its time."""
        request = pb.ExchangeLeasesRequest(exchange_number=number)
        return asyncio.create_task(self.stub.ExchangeLeases(request, timeout=PATIENCE_S))


@asynccontextmanager
async def lines(node: str = "") -> AsyncIterator[Line]:
    """A line of a node of that name."""
    async with AsyncExitStack() as stack:
        servers, relays = (Replica(), Replica()), []
        for replica in servers:
            server = grpc.aio.server()
            fleet_service_pb2_grpc.add_FleetServiceServicer_to_server(replica, server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, 0)
            relays.append(await stack.enter_async_context(relaying(f"127.0.0.1:{port}")))
        addresses = ",".join(relay.address for relay in relays)
        stub = await stack.enter_async_context(connect_to(addresses, node=node)())
        yield Line(servers, (relays[0], relays[1]), stub)


@pytest.fixture(autouse=True)
def slow_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection may take its time to come about."""
    patient = [*CHANNEL_OPTIONS, ("grpc.min_reconnect_backoff_ms", int(1_000 * PATIENCE_S))]
    monkeypatch.setattr(replicas, "CHANNEL_OPTIONS", patient)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    """A line of a node."""
    async with lines() as line:
        yield line


async def test_an_exchange_waits_until_the_next_replica_knows_the_node(line: Line) -> None:
    """Which takes no exchange before."""
    first, second = line.servers
    await line.follow_first()
    line.stream.cancel()
    exchange = line.exchange()
    await line.hello()
    await until(lambda: second.asked)
    second.may_answer.set()
    assert second.asked == ["hello"]
    second.may_greet.set()
    await line.stream.read()
    await exchange
    assert (first.asked, second.asked) == (["hello"], ["hello", "exchange 1"])


async def test_an_exchange_that_was_lost_with_its_replica_is_made_again_with_the_next(line: Line) -> None:
    """By another number: the one that was lost may have been taken."""
    first, second = line.servers
    await line.follow_first()
    exchange = line.exchange(7)
    await until(lambda: "exchange 7" in first.asked)
    line.relays[0].leave()
    with pytest.raises(grpc.aio.AioRpcError):
        await line.stream.read()
    second.may_greet.set()
    second.may_answer.set()
    await line.hello()
    await line.stream.read()
    await exchange
    assert second.asked == ["hello", "exchange 8"]


async def test_an_exchange_fails_at_once_where_no_replica_is_there(line: Line) -> None:
    """Each was asked once; requests are not kept waiting for control that is away."""
    await line.follow_first()
    for relay in line.relays:
        relay.leave()
    exchanges = [line.exchange(1)]
    with pytest.raises(grpc.aio.AioRpcError):
        await line.stream.read()
    for _ in line.relays:
        with pytest.raises(grpc.aio.AioRpcError):
            await line.hello()
            await line.stream.read()
    line.stream.cancel()
    exchanges.append(line.exchange(2))
    for exchange in exchanges:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await exchange
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_nodes_of_one_fleet_begin_with_different_replicas() -> None:
    """Nodes with numbers one after the other: so not all lose the replica that they follow at once."""
    followed = []
    for node in ("metering-0", "metering-1"):
        async with lines(node) as line:
            await line.hello()
            await until(line.is_followed)
            followed.append([bool(replica.asked) for replica in line.servers])
    assert sorted(followed) == [[False, True], [True, False]]


@pytest.fixture
def no_hurry(monkeypatch: pytest.MonkeyPatch, patient_databases: None) -> None:
    """Nothing between a node and control ends because the machine is slow."""
    for name in ("EXCHANGE_DEADLINE_S", "SILENCE_MAX_S"):
        monkeypatch.setattr(link, name, PATIENCE_S)
    monkeypatch.setattr(control_bootstrap, "DRAIN_S", PATIENCE_S)
    monkeypatch.setattr(unary, "WAIT_MAX_S", PATIENCE_S)


@asynccontextmanager
async def replica_of(engine: AsyncEngine, clock: ManualClock) -> AsyncIterator[Control]:
    """One more real replica on this database."""
    async with (
        assemble(engine, clock, listen="127.0.0.1:0", insecure=False).running() as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield Control(address, channel)


@asynccontextmanager
async def metering(engine: AsyncEngine, addresses: str, clock: ManualClock) -> AsyncIterator[Assembly]:
    """A real node."""
    storage = SqlRecorder(engine, new_id)
    keys = ResumeKeys(storage, clock, partial(secrets.token_bytes, SECRET_BYTES))
    await keys.read()
    epoch, connect = await storage.register_node("node", "holder"), connect_to(addresses)
    assembly = await put_together(
        "node", epoch, storage, connect, keys, clock=clock, new_id=new_id, settings=NodeSettings()
    )
    work = asyncio.create_task(assembly.work())
    try:
        yield assembly
    finally:
        assembly.runner.cancel()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await storage.close()


@pytest.mark.usefixtures("no_hurry")
async def test_a_replica_that_stops_costs_no_exchange(metering_database: AsyncEngine, tmp_path: Any) -> None:
    """A request that comes as the stream ends gets its lease from the next replica; no clock moves."""
    engine, clock = create_engine(migrated_url(tmp_path / "control.sqlite3", MIGRATIONS)), ManualClock()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        first = await stack.enter_async_context(AsyncExitStack())
        stopping = await first.enter_async_context(replica_of(engine, clock))
        staying = await stack.enter_async_context(replica_of(engine, clock))
        await staying.stock()
        addresses = f"{stopping.address},{staying.address}"
        node = await stack.enter_async_context(metering(metering_database, addresses, clock))
        await until(node.link.up_to_date.is_set)
        await staying.enable_postpaid()
        service = node.node.service(SERVICE)
        await until(lambda: service.config is not None)
        stop = asyncio.create_task(first.aclose())
        async with asyncio.timeout(PATIENCE_S):
            while node.link.is_connected:  # noqa: ASYNC110  # not a moment later
                await asyncio.sleep(0)
        decision = await unary.ask(node.node, Report("r", SERVICE, Phase.AUTHORIZE, Counts(input=1)))
        assert decision.allowed
        await stop
        assert node.link.failed_exchanges == 0
        assert node.node.control_answers
