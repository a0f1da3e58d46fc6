"""WatchConfig on the wire: what nodes are told, how fast, and how streams end."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from control_service.api import fleet_servicer
from control_service.usecases.fleet import config_feed
from control_service.usecases.upkeep import sweeper
from metering_service.api.control.codec import decode_config
from tallygate._server.clock import ManualClock
from tallygate.control.v1 import config_pb2, inference_service_pb2, lifecycle_service_pb2
from tallygate.control.v1 import fleet_service_pb2 as pb
from tests.harness.wire.control_fleet import SERVICE, Control, WireNode, running_control, wire_node

RUNNING = inference_service_pb2.SERVICE_STATUS_RUNNING
ACTIVATING = inference_service_pb2.SERVICE_STATUS_ACTIVATING
STOPPED = inference_service_pb2.SERVICE_STATUS_STOPPED
NO_POLLS = pytest.mark.parametrize("may_poll", [False])
INTERVALS = {config_feed: "POLL_S", sweeper: "TICK_S", fleet_servicer: "HEARTBEAT_S"}
NOT_ENABLED = inference_service_pb2.SERVICE_STATUS_NOT_ENABLED


@pytest.fixture
def may_poll() -> bool:
    """Whether control looks for changes by itself."""
    return True


@pytest.fixture
async def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, may_poll: bool) -> AsyncIterator[Control]:
    """A control service with an account and a model. By its clock no node falls silent, however slow the machine."""
    if not may_poll:
        for module, interval in INTERVALS.items():
            monkeypatch.setattr(module, interval, 86_400)
    async with running_control(tmp_path, ManualClock()) as control:
        await control.stock()
        yield control


async def test_a_node_says_hello_beside_one_that_never_had_an_answer(control: Control) -> None:
    """Of that one the metering database knows no epoch: the mark has 0, and the stream begins all the same."""
    stream = control.fleet.WatchConfig()
    marks = [
        pb.NodeMark(node="node-a", epoch=1, commit_no=1, exchange_number=0),
        pb.NodeMark(node="node-b", epoch=0, commit_no=0, exchange_number=0),
    ]
    hello = pb.NodeHello(node="node-a", epoch=1, metering_database_id="db-1", history=marks)
    await stream.write(pb.WatchConfigRequest(hello=hello))
    assert isinstance(await stream.read(), pb.WatchConfigResponse)
    stream.cancel()


async def test_names_are_resolved(control: Control) -> None:
    """A default service that nobody started, one that does not exist, and nonsense: each is told for what it is."""
    unknown = "accounts/nobody/services/chat"
    async with wire_node(control) as node:
        await node.subscribe(SERVICE, unknown, "nonsense")
        found = node.services[SERVICE]
        assert (found.resolution, found.status) == (config_pb2.RESOLUTION_FOUND, NOT_ENABLED)
        assert found.price.output_nanos_per_million_tokens == 1_000
        assert node.services[unknown].resolution == config_pb2.RESOLUTION_UNKNOWN
        assert node.services["nonsense"].resolution == config_pb2.RESOLUTION_UNKNOWN


async def test_an_unknown_name_is_told_when_it_comes_into_existence(control: Control) -> None:
    """A node that asked for a service too early hears of it when somebody creates it."""
    name = "accounts/acme/services/chat"
    async with wire_node(control) as node:
        await node.subscribe(name)
        await control.create_service(name)
        await node.until(lambda: node.services[name].resolution == config_pb2.RESOLUTION_FOUND)


async def test_nodes_are_told_of_an_outage_policy(control: Control) -> None:
    """As soon as it changes; and a node reads what it is told."""
    async with wire_node(control) as node:
        await node.subscribe(SERVICE)
        before = node.services[SERVICE]
        assert before.outage_policy == inference_service_pb2.OUTAGE_POLICY_DENY
        await control.lifecycle.UpdateInferenceService(
            lifecycle_service_pb2.UpdateInferenceServiceRequest(
                name=SERVICE, outage_policy=inference_service_pb2.OUTAGE_POLICY_CONTINUE, outage_tokens_max=70
            )
        )
        # What was set up before may still be on its way, with a newer version, too.
        await node.until(lambda: node.services[SERVICE].outage_policy == inference_service_pb2.OUTAGE_POLICY_CONTINUE)
        told = node.services[SERVICE]
        assert told.version > before.version
        assert (decode_config(before).outage_tokens_max, decode_config(told).outage_tokens_max) == (0, 70)


@NO_POLLS
async def test_activating_ends_when_the_live_node_acknowledges(control: Control) -> None:
    """From EnablePostpaid to RUNNING nothing waits for a poll or a sweep; the node is told of the new status too."""
    async with wire_node(control) as node:
        await node.subscribe(SERVICE)
        await control.enable_postpaid()
        await control.until_status(RUNNING)
        await node.until(lambda: node.services[SERVICE].status == RUNNING)
        assert node.services[SERVICE].postpaid_pays
        assert node.services[SERVICE].debt_allowed


async def test_activating_stays_without_any_node(control: Control) -> None:
    """RUNNING promises that a request would be allowed, and without a node none would be."""
    await control.enable_postpaid()
    assert await control.status() == ACTIVATING
    async with wire_node(control):
        await control.until_status(RUNNING)


async def test_activating_waits_for_every_live_node(control: Control) -> None:
    """A live node that does not acknowledge holds the activation up, until it does."""
    async with wire_node(control) as quick, wire_node(control, "node-b", acknowledges=False) as slow:
        await quick.subscribe(SERVICE)
        await control.enable_postpaid()
        await quick.until(lambda: quick.services[SERVICE].status == ACTIVATING)
        await slow.until(lambda: slow.version >= quick.services[SERVICE].version)
        assert await control.status() == ACTIVATING
        taken = pb.ConfigAcknowledgement(version=slow.version)
        await slow.say(pb.WatchConfigRequest(acknowledgement=taken))
        await control.until_status(RUNNING)


@NO_POLLS
async def test_a_stop_is_pushed_at_once(control: Control) -> None:
    """DisablePostpaid reaches every connected node without any poll or heartbeat."""
    async with wire_node(control) as one, wire_node(control, "node-b") as two:
        for node in (one, two):
            await node.subscribe(SERVICE)
        await control.enable_postpaid()
        await control.until_status(RUNNING)
        await control.disable_postpaid()
        for node in (one, two):
            await node.until(lambda node=node: node.services[SERVICE].status == STOPPED)  # type: ignore[misc]
        reasons = list(one.services[SERVICE].stop_reasons)
        assert reasons == [inference_service_pb2.STOP_REASON_POSTPAID_DISABLED]
        assert not one.services[SERVICE].postpaid_pays


async def test_a_new_price_is_pushed_to_all_services_of_its_model(control: Control) -> None:
    """Nodes hear of a price when it takes effect, also for services that nobody acted on."""
    async with wire_node(control) as node:
        await node.subscribe(SERVICE)
        await control.publish(2_000)
        await node.until(lambda: node.services[SERVICE].price.output_nanos_per_million_tokens == 2_000)


async def test_a_service_no_longer_followed_is_no_longer_told(control: Control) -> None:
    """After an unsubscription, changes to that service are not sent; those to others are."""
    other = "accounts/acme/services/chat"
    async with wire_node(control) as node:
        await node.subscribe(SERVICE, other)
        subscription = pb.ConfigSubscription(unsubscribe=[SERVICE])
        await node.say(pb.WatchConfigRequest(subscription=subscription))
        await control.create_service(other)
        await node.until(lambda: node.services[other].resolution == config_pb2.RESOLUTION_FOUND)
        await control.enable_postpaid()
        await control.enable_postpaid(other)
        await node.until(lambda: node.services[other].postpaid_pays)
        assert node.services[SERVICE].status == NOT_ENABLED


async def test_a_lower_epoch_is_fenced(control: Control) -> None:
    """A higher epoch ends the stream of the lower one, and the lower one cannot come back."""
    async with wire_node(control, epoch=1) as old, wire_node(control, epoch=2):
        assert await old.end() is grpc.StatusCode.FAILED_PRECONDITION
        again = WireNode(control, epoch=1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await again.hello()
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_second_stream_of_an_epoch_replaces_the_first(control: Control) -> None:
    """A node that connects again is not held up by the stream that it lost."""
    async with wire_node(control) as first, wire_node(control) as second:
        assert await first.end() is grpc.StatusCode.OK
        await second.subscribe(SERVICE)


async def test_another_metering_database_is_refused(control: Control) -> None:
    """The first node decides which metering database the fleet writes to."""
    async with wire_node(control):
        stranger = WireNode(control, "node-b")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stranger.hello("another-database")
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "another-database" in (caught.value.details() or "")


@pytest.mark.parametrize(
    "hello",
    [
        pb.NodeHello(node="Node A", epoch=1, metering_database_id="db"),
        pb.NodeHello(node="node-a", epoch=0, metering_database_id="db"),
        pb.NodeHello(node="node-a", epoch=1),
        pb.NodeHello(node="node-a", epoch=1, metering_database_id="db", leases_kept_for=Duration(seconds=-1)),
        pb.NodeHello(node="node-a", epoch=1, metering_database_id="db", leases_kept_for=Duration(seconds=86_401)),
    ],
)
async def test_a_malformed_hello_is_refused(control: Control, hello: pb.NodeHello) -> None:
    """Who a node is must be said in full, and first."""
    stream = control.fleet.WatchConfig()
    await stream.write(pb.WatchConfigRequest(hello=hello))
    assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_heartbeats_come_every_second(control: Control) -> None:
    """A stream where nothing happens still has a message at least every second."""
    stream = control.fleet.WatchConfig()
    hello = pb.NodeHello(node="node-a", epoch=1, metering_database_id="db")
    await stream.write(pb.WatchConfigRequest(hello=hello))
    await stream.read()
    assert await stream.read() is not grpc.aio.EOF
    assert fleet_servicer.HEARTBEAT_S < 1
    stream.cancel()


async def test_a_node_that_does_not_read_keeps_nobody_waiting(control: Control) -> None:
    """Another node hears of every change at once, whatever waits for the one that is stuck."""
    stuck = control.fleet.WatchConfig()
    hello = pb.NodeHello(node="stuck", epoch=1, metering_database_id="metering-database")
    await stuck.write(pb.WatchConfigRequest(hello=hello))
    await stuck.write(pb.WatchConfigRequest(subscription=pb.ConfigSubscription(subscribe=[SERVICE])))
    async with wire_node(control) as node:
        await node.subscribe(SERVICE)
        for price in range(2_000, 2_030):
            await control.publish(price)
            await node.until(lambda price=price: _price_of(node) == price)  # type: ignore[misc]
    stuck.cancel()


def _price_of(node: WireNode) -> int:
    return node.services[SERVICE].price.output_nanos_per_million_tokens


@pytest.mark.parametrize(
    "request_",
    [
        pb.WatchConfigRequest(),
        pb.WatchConfigRequest(hello=pb.NodeHello(node="node-a", epoch=1, metering_database_id="db")),
        pb.WatchConfigRequest(subscription=pb.ConfigSubscription(subscribe=["name"] * 1_001)),
    ],
)
async def test_what_must_not_be_said_ends_the_stream(control: Control, request_: pb.WatchConfigRequest) -> None:
    """Nothing at all, another hello, too many names at once: the stream says what is wrong and ends."""
    async with wire_node(control) as node:
        await node.say(request_)
        assert await node.end() is grpc.StatusCode.INVALID_ARGUMENT
