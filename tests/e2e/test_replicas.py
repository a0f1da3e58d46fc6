"""Several replicas of the control service over one PostgreSQL: any of them will do, at any time."""

import asyncio
import itertools
import signal
from functools import partial

import grpc
import pytest

from tallygate.control.v1 import lifecycle_service_pb2, lifecycle_service_pb2_grpc
from tallygate.metering.v1 import (
    decision_pb2,
    metering_service_pb2,
    metering_service_pb2_grpc,
    report_pb2,
    token_usage_pb2,
)
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.one_service import SERVICE, assert_balance, enable, meter_one
from tests.harness.programs.programs import Pair, Program
from tests.harness.programs.requests import answered

ON_POSTGRESQL = pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
FUNDS = 5_000_000_000


async def until_stopped(node: Program) -> None:
    """Asks for one more request after the other, until a node says that the service has stopped."""
    usage = token_usage_pb2.TokenUsage(input_tokens=1)
    report = report_pb2.TokenReport(service=SERVICE, phase=report_pb2.REPORT_PHASE_AUTHORIZE, usage=usage)
    async with grpc.aio.insecure_channel(node.address) as channel, asyncio.timeout(PATIENCE_S):
        stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        for number in itertools.count():
            report.request_id = f"stop-{node.pid}-{number}"
            authorize = partial(stub.Authorize, metering_service_pb2.AuthorizeRequest(report=report))
            answer = await answered(authorize)
            if answer.decision.verdict == decision_pb2.VERDICT_DENY and not answer.decision.retryable:
                return


async def suspend(control: Program) -> None:
    async with grpc.aio.insecure_channel(control.address) as channel:
        stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        await stub.SuspendInferenceService(lifecycle_service_pb2.SuspendInferenceServiceRequest(name=SERVICE))


@ON_POSTGRESQL
async def test_a_stop_reaches_the_nodes_of_all_replicas(pair: Pair) -> None:
    """Whichever replica was told; and so does an activation, which both must have heard of."""
    other = await pair.start_control(name="control-2")
    second = await pair.start_node("node-2", control=other.address)
    await enable(pair)
    costs = await asyncio.gather(*(meter_one(node, f"r-{node.pid}") for node in (pair.metering, second)))
    assert costs == [100_000, 100_000]
    asking = [asyncio.create_task(until_stopped(node)) for node in (pair.metering, second)]
    await suspend(other)
    await asyncio.gather(*asking)


@ON_POSTGRESQL
async def test_a_node_goes_on_with_another_replica(pair: Pair) -> None:
    """Its replica is killed, and a little later the other one: what it needs it gets from whoever is there."""
    await enable(pair)
    other = await pair.start_control(name="control-2")
    both = f"{pair.control.address},{other.address}"  # A node of this name begins with the second.
    node = await pair.start_node("node-2", control=both)
    costs = [await meter_one(node, "before")]
    await other.kill()
    costs.append(await meter_one(node, "with the first"))
    await pair.start_control(listen=other.address, name="control-2")
    first_address = pair.control.address
    await pair.control.kill()
    costs.append(await meter_one(node, "with the second"))
    await pair.start_control(listen=first_address)
    await node.stop()
    await pair.metering.stop()
    await assert_balance(pair, FUNDS - sum(costs))


@ON_POSTGRESQL
async def test_a_node_leaves_a_replica_that_is_frozen(pair: Pair) -> None:
    """It answers nothing and closes nothing; its silence is enough. Awake again, it does no harm."""
    await enable(pair)
    other = await pair.start_control(name="control-2")
    node = await pair.start_node("node-2", control=f"{pair.control.address},{other.address}")
    other.process.send_signal(signal.SIGSTOP)
    try:
        costs = [await meter_one(node, "meanwhile")]
    finally:
        other.process.send_signal(signal.SIGCONT)
    costs.append(await meter_one(node, "after"))
    await node.stop()
    await pair.metering.stop()
    await assert_balance(pair, FUNDS - sum(costs))


@ON_POSTGRESQL
async def test_all_may_be_restarted_in_any_order(pair: Pair) -> None:
    """Nodes and replicas come and go; at the end the balance is exact, and nothing is left on lease."""
    await enable(pair)
    other = await pair.start_control(name="control-2")
    both = f"{other.address},{pair.control.address}"
    node = await pair.start_node("node-2", control=both)
    costs = [await meter_one(node, "first")]
    await pair.control.stop()
    await node.kill()
    node = await pair.start_node("node-2", control=both)
    costs.append(await meter_one(node, "second"))
    await pair.start_control(listen=pair.control.address)
    await other.kill()
    costs.append(await meter_one(node, "third"))
    await pair.start_control(listen=other.address, name="control-2")
    costs.append(await meter_one(pair.metering, "fourth"))
    await node.stop()
    await pair.metering.stop()
    await assert_balance(pair, FUNDS - sum(costs))
