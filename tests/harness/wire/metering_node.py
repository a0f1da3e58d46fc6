"""A metering node on a real gRPC server, over a rig's control service and database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from metering_service.api.errors import translate
from metering_service.api.metering_servicer import MeteringServicer, Traces
from metering_service.usecases.lookups.lookups import every
from tallygate._server.grpc.gate import Gate
from tallygate._server.grpc.server import GrpcServer
from tallygate.metering.v1 import decision_pb2, metering_service_pb2_grpc
from tallygate.metering.v1 import metering_service_pb2 as pb
from tests.harness.metering.node_harness import Rig
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.scripted_server import METERING

PUMP_S = 0.01


@dataclass(eq=False)
class RawStream:
    """A Meter stream that takes any bytes, and keeps all that comes back."""

    call: "grpc.aio.StreamStreamCall[bytes, pb.MeterResponse]"
    responses: list[pb.MeterResponse] = field(default_factory=list)

    async def send(self, message: pb.MeterRequest | bytes) -> None:
        await self.call.write(message if isinstance(message, bytes) else message.SerializeToString())

    async def until_answered(self, sequence: int) -> list[decision_pb2.Decision]:
        """Reads until all is answered up to that report; what was decided since the stream began."""
        while not self.responses or self.responses[-1].answered_through < sequence:
            await self.read()
        return [decision for response in self.responses for decision in response.decisions]

    async def read(self) -> pb.MeterResponse:
        response = await self.call.read()
        assert isinstance(response, pb.MeterResponse), "the stream has ended"
        self.responses.append(response)
        return response


@dataclass(frozen=True)
class NodeServing:
    rig: Rig
    channel: grpc.aio.Channel
    address: str

    def stream(self, *metadata: tuple[str, str]) -> RawStream:
        call: Any = self.channel.stream_stream(
            f"/{METERING}/Meter", request_serializer=None, response_deserializer=pb.MeterResponse.FromString
        )
        return RawStream(call(timeout=PATIENCE_S, metadata=metadata))


@asynccontextmanager
async def serving_node(rig: Rig, gate: Gate | None = None, traces: Traces | None = None) -> AsyncIterator[NodeServing]:
    """Start it on a free port, and stop it at the end; meanwhile it hears from its control service.

    `gate`: who may call; everybody without one. `traces`: what makes spans of requests.
    """
    servicer = MeteringServicer(rig.node, traces)
    server = GrpcServer(
        listen="127.0.0.1:0",
        insecure=False,
        service_names=[METERING],
        add_servicers=lambda it: metering_service_pb2_grpc.add_MeteringServiceServicer_to_server(servicer, it),
        translate=translate,
        gate=gate,
    )
    address = await server.start()
    pump = asyncio.create_task(every(PUMP_S, rig.pump))
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield NodeServing(rig, channel, address)
    finally:
        await server.stop(0)
        pump.cancel()
