"""DiagnosticsService: how a node is and what goes through it, for whoever examines or watches a fleet."""

from typing import Final

import grpc
from typing_extensions import override

from metering_service.api.meter_counts import MeterCounts
from metering_service.usecases.commits.commit_counts import CommitCounts
from metering_service.usecases.node import Node
from tallygate._diagnostics import encode_diagnostics
from tallygate._server.process.program_facts import ReadFacts
from tallygate._wire.times import encode_duration, encode_timestamp
from tallygate.metering.v1 import diagnostics_service_pb2 as pb
from tallygate.metering.v1 import (
    diagnostics_service_pb2_grpc,
    node_traffic_pb2,
    token_usage_pb2,
    usage_bucket_pb2,
)

_NS_PER_US: Final = 1_000


class DiagnosticsServicer(diagnostics_service_pb2_grpc.DiagnosticsServiceServicer):
    """Reads and changes nothing."""

    def __init__(self, node: Node, diagnostics: ReadFacts, counts: MeterCounts, commits: CommitCounts) -> None:
        """`counts` and `commits` are those of the node's epoch, which begins now."""
        self._node = node
        self._diagnostics = diagnostics
        self._counts = counts
        self._commits = commits
        self._begin_ns = node.clock.monotonic_ns()

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

    @override
    async def GetTraffic(
        self, request: pb.GetTrafficRequest, context: "grpc.aio.ServicerContext[pb.GetTrafficRequest, object]"
    ) -> pb.GetTrafficResponse:
        """Answer as of now."""
        node, counts, commits = self._node, self._counts, self._commits
        running_us = (node.clock.monotonic_ns() - self._begin_ns) // _NS_PER_US
        traffic = node_traffic_pb2.NodeTraffic(
            node=node.name,
            epoch=node.epoch,
            running_for=encode_duration(running_us),
            usage=token_usage_pb2.TokenUsage(
                **{f"{kind}_tokens": tokens for kind, tokens in commits.tokens_by_kind.items()}
            ),
            payers=usage_bucket_pb2.PayerTokens(
                **{f"{payer}_tokens": tokens for payer, tokens in commits.tokens.items()}
            ),
            overrun_tokens=commits.overrun_tokens,
            booked_request_count=commits.requests,
            report_count=counts.reports + counts.entries,
            grant_count=counts.grants,
            final_grant_count=counts.grants_final,
            denial_counts=counts.denied,
            open_stream_count=len(counts.streams),
            open_request_count=node.checkpoints.running.count,
            waiting_report_count=node.waiting_count,
        )
        return pb.GetTrafficResponse(traffic=traffic)
