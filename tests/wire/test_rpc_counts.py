"""Calls are counted by method and code, however they end."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from metering_service.api.errors import translate
from tallygate._server.grpc.rpc_counts import RpcCounts
from tallygate._server.grpc.server import GrpcServer
from tallygate.metering.v1 import usage_service_pb2, usage_service_pb2_grpc
from tests.harness.patience import PATIENCE_S

CHECK, WATCH = "grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"
QUERY = "tallygate.metering.v1.UsageService/QueryUsage"


class Broken(usage_service_pb2_grpc.UsageServiceServicer):
    async def QueryUsage(self, request: object, context: object) -> usage_service_pb2.QueryUsageResponse:
        raise ZeroDivisionError


async def test_calls_are_counted_however_they_end() -> None:
    """Well, by a servicer's own word, by a mistake, or by their callers; those under way are counted apart."""
    counts, broken = RpcCounts(), Broken()  # type: ignore[abstract]  # it needs no more methods
    server = GrpcServer(
        listen="127.0.0.1:0",
        insecure=False,
        service_names=[],
        add_servicers=lambda it: usage_service_pb2_grpc.add_UsageServiceServicer_to_server(broken, it),
        translate=translate,
        rpcs=counts,
    )
    address = await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        await health.Check(health_pb2.HealthCheckRequest())
        for call in (
            health.Check(health_pb2.HealthCheckRequest(service="nothing")),
            usage_service_pb2_grpc.UsageServiceStub(channel).QueryUsage(usage_service_pb2.QueryUsageRequest()),
        ):
            await asyncio.gather(call, return_exceptions=True)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        assert counts.methods[WATCH].open_count == 1
        watch.cancel()
        async with asyncio.timeout(PATIENCE_S):
            while counts.methods[WATCH].open_count:  # noqa: ASYNC110  # until the server has noticed
                await asyncio.sleep(0.01)
    await server.stop(0)
    assert counts.methods[CHECK].codes == {"OK": 1, "NOT_FOUND": 1}
    assert counts.methods[WATCH].codes == {"CANCELLED": 1}
    assert counts.methods[QUERY].codes == {"INTERNAL": 1}
    assert (counts.unexpected, sum(counts.methods[CHECK].durations.counts)) == (1, 2)
