"""A real server of the base, whose metering service does what a test scripts."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from tallygate._server.grpc.failures import RpcStatusError
from tallygate._server.grpc.server import MESSAGE_BYTES_MAX, GrpcServer
from tallygate._server.grpc.tls import ServerCertificates, ServerTls
from tallygate.metering.v1 import decision_pb2, metering_service_pb2, metering_service_pb2_grpc
from tests.harness.patience import PATIENCE_S

METERING = "tallygate.metering.v1.MeteringService"
ALLOW = metering_service_pb2.AuthorizeResponse(decision=decision_pb2.Decision(verdict=decision_pb2.VERDICT_ALLOW))


class DomainError(Exception):
    """What a service's own exceptions are to the base."""


def translate(error: Exception) -> RpcStatusError | None:
    """Knows the DomainError and nothing else."""
    if isinstance(error, DomainError):
        return RpcStatusError(grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", str(error), {"resource": "models/x"})
    return None


@dataclass(eq=False)
class ScriptedMetering(metering_service_pb2_grpc.MeteringServiceServicer):
    """`Authorize` and `Report` run the script; `Meter` runs it for each message."""

    script: Callable[[], Awaitable[None]]

    async def Authorize(self, request: metering_service_pb2.AuthorizeRequest, context: Any) -> Any:
        await self.script()
        return ALLOW

    async def Report(self, request: metering_service_pb2.ReportRequest, context: Any) -> Any:
        await self.script()
        return metering_service_pb2.ReportResponse()

    async def Meter(self, request_iterator: Any, context: Any) -> AsyncIterator[metering_service_pb2.MeterResponse]:
        async for request in request_iterator:
            await self.script()
            yield metering_service_pb2.MeterResponse(answered_through=request.first_sequence)


@dataclass(frozen=True)
class Serving:
    server: GrpcServer
    address: str
    channel: grpc.aio.Channel
    stub: "metering_service_pb2_grpc.MeteringServiceAsyncStub"  # a class for the type checker only

    async def authorize(self) -> Any:
        """One call that a test is not particular about."""
        return await self.stub.Authorize(metering_service_pb2.AuthorizeRequest(), timeout=PATIENCE_S)


async def nothing() -> None:
    """The script of a servicer that just answers."""


@asynccontextmanager
async def serving(
    script: Callable[[], Awaitable[None]] = nothing,
    max_message_bytes: int = MESSAGE_BYTES_MAX,
    *,
    tls: ServerTls | None = None,
    certificates: ServerCertificates | None = None,
    servicer: ScriptedMetering | None = None,
) -> AsyncIterator[Serving]:
    """Start it on a free port, and stop it at the end. With `tls`, its own channel is of no use."""
    servicer = servicer or ScriptedMetering(script)
    server = GrpcServer(
        listen="127.0.0.1:0",
        insecure=False,
        service_names=[METERING],
        add_servicers=lambda it: metering_service_pb2_grpc.add_MeteringServiceServicer_to_server(servicer, it),
        translate=translate,
        max_message_bytes=max_message_bytes,
        tls=tls,
        certificates=certificates,
    )
    address = await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield Serving(server, address, channel, metering_service_pb2_grpc.MeteringServiceStub(channel))
    finally:
        await server.stop(0)
