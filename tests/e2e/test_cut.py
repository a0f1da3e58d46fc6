"""A stream that was cut, on real programs: its record says why, also when the node that told it is killed."""

from __future__ import annotations

import grpc

from tallygate._channel import open_aio_channel
from tallygate._security import PLAIN
from tallygate.client import MeteringClient, Usage
from tallygate.control.v1 import lifecycle_service_pb2_grpc
from tallygate.control.v1.lifecycle_service_pb2 import SuspendInferenceServiceRequest
from tallygate.metering.v1.decision_pb2 import DECISION_REASON_SUSPENDED
from tallygate.metering.v1.request_usage_pb2 import SETTLEMENT_STATE_FINISHED, SETTLEMENT_STATE_RUNNING
from tests.harness.client.patient import PATIENT
from tests.harness.patience import until, until_found
from tests.harness.programs.one_service import SERVICE, enable, meter_one, recorded
from tests.harness.programs.programs import Pair, Program
from tests.harness.programs.requests import begun


async def is_committed(node: Program) -> bool:
    """Whether a record says that the request was cut."""
    try:
        return any(part.HasField("cut") for part in await recorded(node, "cut"))
    except grpc.aio.AioRpcError as error:
        # It may have been cut before anything of it was committed.
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        return False


async def test_the_reason_outlives_the_node_that_told_it(pair: Pair) -> None:
    """Once it is committed any node says it; the finish, which another node hears, changes nothing of that."""
    await enable(pair)
    second = await pair.start_node("node-2")
    await meter_one(pair.metering, "before")
    async with MeteringClient([pair.metering.address, second.address], settings=PATIENT) as client:
        request = await begun(client, SERVICE, request_id="cut", input_tokens=100)
        request.output(5)
        request.report()
        async with open_aio_channel(pair.control.address, PLAIN) as channel:
            stub = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
            await stub.SuspendInferenceService(SuspendInferenceServiceRequest(name=SERVICE))
        await until(lambda: request.must_stop)
        await until_found(lambda: is_committed(second))
        await pair.metering.kill()
        (part,) = await recorded(second, "cut")
        assert (part.state, part.cut.reason) == (SETTLEMENT_STATE_RUNNING, DECISION_REASON_SUSPENDED)
        request.set_usage(Usage(input_tokens=100, output_tokens=6))
        request.finish()
        await request.wait_recorded()
        parts = {part.node: part for part in await recorded(second, "cut")}
    # Whether the second node cuts it too depends on what it hears first: that the request goes on, or that it is over.
    assert {node: part.state for node, part in parts.items()} == {
        "node-1": SETTLEMENT_STATE_RUNNING,
        "node-2": SETTLEMENT_STATE_FINISHED,
    }
    assert parts["node-1"].cut.reason == DECISION_REASON_SUSPENDED
