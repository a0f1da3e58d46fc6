"""DiagnosticsService: how a node is, for whoever examines a fleet."""

import grpc
from typing_extensions import override

from metering_service.usecases.node import Node
from tallygate._diagnostics import encode_diagnostics
from tallygate._server.process.program_facts import ReadFacts
from tallygate._wire.times import encode_timestamp
from tallygate.metering.v1 import diagnostics_service_pb2 as pb
from tallygate.metering.v1 import diagnostics_service_pb2_grpc


class DiagnosticsServicer(diagnostics_service_pb2_grpc.DiagnosticsServiceServicer):
    """Reads and changes nothing."""

    def __init__(self, node: Node, diagnostics: ReadFacts) -> None:
        self._node = node
        self._diagnostics = diagnostics

    @override
    async def GetDiagnostics(
        self, request: pb.GetDiagnosticsRequest, context: "grpc.aio.ServicerContext[pb.GetDiagnosticsRequest, object]"
    ) -> pb.GetDiagnosticsResponse:
        """Answer as of now."""
        node = self._node
        return pb.GetDiagnosticsResponse(
            diagnostics=encode_diagnostics(await self._diagnostics()),
            node=node.name,
            epoch=node.epoch,
            control_answers=node.control_answers,
            backlog_count=node.buffer.backlog_count,
            backlog_count_max=node.settings.backlog_max,
            fresh_through_time=encode_timestamp(node.buffer.fresh_through_us()),
            waiting_report_count=node.waiting_count,
        )
