"""ExchangeLeases on the wire: grants, recalls, fences, and what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from tallygate._server.clock import ManualClock
from tallygate._wire.failures import decode_failure
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import inference_service_pb2, operations_service_pb2, pot_pb2
from tests.harness.wire.control_fleet import SERVICE, Control, WireNode, running_control, wire_node

MONEY = pot_pb2.POT_KIND_MONEY
TRIAL = pot_pb2.POT_KIND_TRIAL
RUNNING = inference_service_pb2.SERVICE_STATUS_RUNNING
STOPPED = inference_service_pb2.SERVICE_STATUS_STOPPED
FUNDS = 1_000_000_000


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    """A control service with an account and a model. By its clock no node falls behind, however slow the machine."""
    async with running_control(tmp_path, ManualClock()) as control:
        await control.stock(FUNDS)
        yield control


@pytest.fixture
async def node(control: Control) -> AsyncIterator[WireNode]:
    """A node that follows a running pay-as-you-go service."""
    async with wire_node(control) as node:
        await node.subscribe(SERVICE)
        await control.enable_postpaid()
        await control.until_status(RUNNING)
        yield node


async def test_money_and_trial_are_leased(control: Control, node: WireNode) -> None:
    """A node gets what it needs of both pots, says what it consumed, and operations show it."""
    await control.claim_trial()
    await node.until(lambda: node.services[SERVICE].trial_pays)
    money, trial = await node.exchange(
        node.state(SERVICE, MONEY, wanted_units=5_000), node.state(SERVICE, TRIAL, wanted_units=100, needed_units=40)
    )
    assert (money.granted_units, trial.granted_units) == (5_000, 100)
    await node.exchange(
        node.state(SERVICE, MONEY, consumed_units=3_000, held_units=500),
        node.state(SERVICE, TRIAL, consumed_units=60, closing=True),
    )
    request = operations_service_pb2.ListPotsRequest(account="accounts/acme")
    money_pot, trial_pot = (await control.operations.ListPots(request)).pots
    assert (money_pot.capacity_units, money_pot.spent_units) == (FUNDS, 3_000)
    assert (money_pot.leased_units, money_pot.held_units) == (2_000, 500)
    assert money_pot.available_units == FUNDS - 5_000
    assert (trial_pot.spent_units, trial_pot.leased_units, trial_pot.available_units) == (60, 0, 940)
    open_leases = await control.operations.ListLeases(operations_service_pb2.ListLeasesRequest(node="node-a"))
    assert [lease.pot_kind for lease in open_leases.leases] == [MONEY]


async def test_a_recall_is_pushed_and_what_comes_back_too(control: Control, node: WireNode) -> None:
    """A need on one node recalls what is free on another; when that returns it, the first hears to ask again."""
    async with wire_node(control, "node-b") as other:
        await other.subscribe(SERVICE)
        await node.exchange(node.state(SERVICE, MONEY, needed_units=FUNDS))
        (answer,) = await other.exchange(other.state(SERVICE, MONEY, needed_units=1_000))
        assert answer.availability == pb.POT_AVAILABILITY_RECALLING
        mine = node.state(SERVICE, MONEY).lease_id
        await node.until(lambda: mine in node.recalled)
        await node.exchange(node.state(SERVICE, MONEY, returned_units=FUNDS))
        await other.until(lambda: other.services[SERVICE].uid in other.replenished)
        (answer,) = await other.exchange(other.state(SERVICE, MONEY, needed_units=1_000))
        assert (answer.granted_units, answer.availability) == (1_000, pb.POT_AVAILABILITY_AVAILABLE)


async def test_an_account_that_runs_dry_stops_and_a_top_up_restarts_it(control: Control, node: WireNode) -> None:
    """Overdue reaches the node as a stop, a top-up as the end of it."""
    await node.exchange(node.state(SERVICE, MONEY, needed_units=FUNDS))
    await node.exchange(node.state(SERVICE, MONEY, consumed_units=FUNDS, needed_units=10))
    await node.until(lambda: node.services[SERVICE].status == STOPPED)
    assert list(node.services[SERVICE].stop_reasons) == [inference_service_pb2.STOP_REASON_ACCOUNT_OVERDUE]
    await control.top_up(FUNDS)
    await node.until(lambda: node.services[SERVICE].status == RUNNING)
    (answer,) = await node.exchange(node.state(SERVICE, MONEY, consumed_units=FUNDS, needed_units=10))
    assert answer.granted_units == FUNDS + 10


async def test_a_top_up_reaches_a_node_that_was_told_empty(control: Control, node: WireNode) -> None:
    """Where a payer was contended and money comes in, nodes hear of it without having to poll."""
    await node.exchange(node.state(SERVICE, MONEY, needed_units=FUNDS))
    await node.exchange(node.state(SERVICE, MONEY, held_units=FUNDS))
    async with wire_node(control, "node-b") as other:
        await other.subscribe(SERVICE)
        (answer,) = await other.exchange(other.state(SERVICE, MONEY, needed_units=1_000))
        assert answer.availability == pb.POT_AVAILABILITY_EMPTY
        await control.top_up(FUNDS)
        await other.until(lambda: other.services[SERVICE].uid in other.replenished)


async def test_exchanges_count_up(control: Control, node: WireNode) -> None:
    """A number that is not above the last one taken changes nothing."""
    await node.exchange(node.state(SERVICE, MONEY, wanted_units=5_000), number=7)
    for number in (7, 3):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await node.exchange(node.state(SERVICE, MONEY, consumed_units=5_000), number=number)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert decode_failure(caught.value).reason == "EXCHANGE_SUPERSEDED"
    (pot,) = (await control.operations.ListPots(operations_service_pb2.ListPotsRequest(account="accounts/acme"))).pots
    assert (pot.leased_units, pot.spent_units) == (5_000, 0)


async def test_only_the_present_epoch_may_exchange(control: Control, node: WireNode) -> None:
    """A lower epoch is fenced, a higher one has to say hello, and so has a stranger."""
    async with wire_node(control, epoch=2):
        pass
    for name, epoch, reason in (
        ("node-a", 1, "NODE_FENCED"),
        ("node-a", 3, "NODE_NOT_REGISTERED"),
        ("node-x", 1, "NODE_NOT_REGISTERED"),
    ):
        request = pb.ExchangeLeasesRequest(node=name, epoch=epoch, exchange_number=1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await control.fleet.ExchangeLeases(request)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert decode_failure(caught.value).reason == reason


async def test_malformed_numbers_are_named(control: Control, node: WireNode) -> None:
    """Every number that cannot be is named by its path, and nothing is changed."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.exchange(
            node.state(SERVICE, MONEY, consumed_units=-1, held_units=-(2**63)), node.state(SERVICE, MONEY)
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)
    bad = BadRequest()
    assert status.details[1].Unpack(bad)
    assert [violation.field for violation in bad.field_violations] == [
        "statements[0].consumed_units",
        "statements[0].held_units",
        "statements[1].lease_id",
    ]


async def test_nodes_are_listed_with_what_they_acknowledged(control: Control, node: WireNode) -> None:
    """On-call sees who is live and up to date."""
    await node.exchange()
    listed = await control.operations.ListNodes(operations_service_pb2.ListNodesRequest())
    (only,) = listed.nodes
    assert (only.node, only.epoch, only.live, only.exchange_number) == ("node-a", 1, True, 1)
    assert only.metering_database_id == "metering-database"
    assert only.HasField("lease_valid_until_time")
    assert 0 < only.acknowledged_version <= listed.config_version
