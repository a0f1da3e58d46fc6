"""Spans of calls, sent by OTLP. Imported only where an endpoint is given: it needs the extra `otel`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tallygate._server.grpc.call import TRACEPARENT_KEY

PROPAGATOR: Final = TraceContextTextMapPropagator()
_FAULTS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that are the server's fault, by OpenTelemetry's rules."""
_NUMBERS: Final = {code.name: code.value[0] for code in grpc.StatusCode}


def resource_of(service: str, instance: str) -> Resource:
    """What sends: a name that OTEL_SERVICE_NAME may replace, and which one of that name."""
    return Resource.create(
        {
            "service.name": os.environ.get(OTEL_SERVICE_NAME) or service,
            "service.instance.id": instance,
            "service.version": version("tallygate"),
        }
    )


@asynccontextmanager
async def sending_spans(endpoint: str, resource: Resource) -> AsyncIterator[Tracer]:
    """A tracer whose spans are sent in batches, the last of them at the end of the block."""
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield provider.get_tracer("tallygate")
    finally:
        await asyncio.to_thread(provider.shutdown)


class CallSpans:
    """A span for each call, in its caller's trace where the call brings one."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, method: str, traceparent: str) -> "CallSpan":
        """A call begins: `/package.Service/Method`."""
        service, _, name = method[1:].rpartition("/")
        span = self._tracer.start_span(
            method[1:],
            PROPAGATOR.extract({TRACEPARENT_KEY: traceparent}),
            SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
        )
        return CallSpan(span)


class CallSpan:
    """The span of one call."""

    def __init__(self, span: Span) -> None:
        self._span: Any = span
        self.trace_id = format_trace_id(span.get_span_context().trace_id)

    def end(self, code: str) -> None:
        """The call has ended with this code."""
        self._span.set_attribute("rpc.grpc.status_code", _NUMBERS[code])
        if code in _FAULTS:
            self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()
