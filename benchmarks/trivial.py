"""The ceiling: the least that a server of this contract can do. One look-up and one decrement for each report.

An entry of columns is noted by its handle, and no more.
"""

import sys
from collections.abc import AsyncIterator

import grpc
import uvloop
from grpc_health.v1 import health_pb2_grpc

from tallygate._server.grpc.health import HealthServicer
from tallygate._server.process.run import announce
from tallygate.metering.v1 import decision_pb2, metering_service_pb2_grpc
from tallygate.metering.v1 import metering_service_pb2 as pb

POT_TOKENS = 10**15
HANDLES_MAX = 100_000


class TrivialServicer(metering_service_pb2_grpc.MeteringServiceServicer):
    """Knows no rule, keeps no record."""

    async def Meter(
        self,
        request_iterator: AsyncIterator[pb.MeterRequest],
        context: "grpc.aio.ServicerContext[pb.MeterRequest, pb.MeterResponse]",
    ) -> AsyncIterator[pb.MeterResponse]:
        """Answers by watermark; only a pot that has run out is named."""
        pots: dict[str, int] = {}
        said: dict[int, int] = {}
        async for message in request_iterator:
            columns = message.columns
            said.update(zip(columns.handles, columns.output_tokens, strict=True))
            sequence = message.first_sequence + len(columns.handles)
            refused: list[decision_pb2.Decision] = []
            for report in message.reports:
                request_id = report.request_id
                left = pots.get(request_id, POT_TOKENS) - 1
                if left < 0:
                    refused.append(decision_pb2.Decision(sequence=sequence, request_id=request_id))
                pots[request_id] = left
                sequence += 1
            yield pb.MeterResponse(
                answered_through=sequence - 1,
                durable_through=sequence - 1,
                decisions=refused,
                columns_handles_max=HANDLES_MAX,
            )

    async def Authorize(
        self,
        request: pb.AuthorizeRequest,
        context: "grpc.aio.ServicerContext[pb.AuthorizeRequest, pb.AuthorizeResponse]",
    ) -> pb.AuthorizeResponse:
        """Allows."""
        decision = decision_pb2.Decision(request_id=request.report.request_id, verdict=decision_pb2.VERDICT_ALLOW)
        return pb.AuthorizeResponse(decision=decision)

    async def Report(
        self, request: pb.ReportRequest, context: "grpc.aio.ServicerContext[pb.ReportRequest, pb.ReportResponse]"
    ) -> pb.ReportResponse:
        """Nothing is measured of it."""
        raise NotImplementedError


async def serve(port: int, *, shared: bool) -> None:
    """Serve until killed, on a port that several processes may share; 0: on a free one."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 1 if shared else 0)])
    metering_service_pb2_grpc.add_MeteringServiceServicer_to_server(TrivialServicer(), server)
    health = HealthServicer(())
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    announce(f"127.0.0.1:{port}")
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), shared="shared" in sys.argv))
