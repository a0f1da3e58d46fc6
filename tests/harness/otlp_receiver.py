"""A collector of OpenTelemetry, as far as a sender can tell: it takes what is sent by OTLP, and keeps it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass
class Receiver:
    """What came."""

    endpoint: str = ""
    resources: list[dict[str, str]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    """The newest of each name."""
    spans: list[Any] = field(default_factory=list)

    def note_resource(self, resource: Any) -> None:
        self.resources.append({one.key: one.value.string_value for one in resource.attributes})


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def Export(self, request: Any, context: Any) -> Any:
        for of_resource in request.resource_metrics:
            self._receiver.note_resource(of_resource.resource)
            for of_scope in of_resource.scope_metrics:
                self._receiver.metrics.update((metric.name, metric) for metric in of_scope.metrics)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def Export(self, request: Any, context: Any) -> Any:
        for of_resource in request.resource_spans:
            self._receiver.note_resource(of_resource.resource)
            for of_scope in of_resource.scope_spans:
                self._receiver.spans += of_scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """One on a free port."""
    server, receiver = grpc.aio.server(), Receiver()
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(receiver), server)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(receiver), server)
    receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield receiver
    finally:
        await server.stop(0)
