"""Spans of sampled requests on a node's streams, in the traces of the servers that report them.

Imported only where an endpoint is given: it needs the extra `otel`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from opentelemetry.trace import Span, SpanKind, Tracer

from metering_service.api.codec import decode_counts
from metering_service.domain.decision import Decision
from metering_service.domain.report import Phase, Report
from metering_service.usecases.stream_messages import Outgoing
from tallygate._server.grpc.call import TRACEPARENT, TRACEPARENT_KEY
from tallygate._server.traces import PROPAGATOR

OPEN_MAX: Final = 1_000
"""Maximum number of requests of a node that are traced at once; more are not."""
_SAMPLED: Final = 1


class RequestTraces:
    """Those of one node."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self.open_count = 0

    def stream(self) -> "StreamTraces":
        """Those of a stream that was opened."""
        return StreamTraces(self)

    def begin(self, traceparent: str, report: Report) -> Span | None:
        """A span for a request that asks for leave, if its server samples it and there is room."""
        match = TRACEPARENT.fullmatch(traceparent)
        if match is None or not int(match["flags"], 16) & _SAMPLED or self.open_count >= OPEN_MAX:
            return None
        self.open_count += 1
        attributes = {"tallygate.request_id": report.request_id, "tallygate.service": report.service}
        context = PROPAGATOR.extract({TRACEPARENT_KEY: traceparent})
        return self._tracer.start_span("tallygate.request", context, SpanKind.SERVER, attributes)

    def end(self, span: Span) -> None:
        """The request has ended here."""
        self.open_count -= 1
        span.end()


class StreamTraces:
    """Those of one stream: it sees reports as they are decoded, and what is said."""

    def __init__(self, traces: RequestTraces) -> None:
        self._traces = traces
        self._spans: dict[str, Span] = {}

    def reading(self, decode: Callable[[Any, str], Report]) -> Callable[[Any, str], Report]:
        """Decodes, and notes what begins."""

        def read(message: Any, service: str) -> Report:
            report = decode(message, service)
            if report.phase is Phase.AUTHORIZE and TRACEPARENT_KEY in getattr(message, "labels", ()):
                self._begin(message.labels[TRACEPARENT_KEY], report)
            return report

        return read

    def _begin(self, traceparent: str, report: Report) -> None:
        if report.request_id in self._spans:
            return
        span = self._traces.begin(traceparent, report)
        if span is not None:
            self._spans[report.request_id] = span

    def taken(self, reports: Sequence[Any]) -> None:
        """A message was taken: some of its finishes need no decoding, so they are looked for here."""
        if not self._spans:
            return
        for report in reports:
            if getattr(report, "phase", None) == Phase.FINISH.value and report.request_id in self._spans:
                span = self._spans.pop(report.request_id)
                span.set_attribute("tallygate.tokens", decode_counts(report.usage).total)
                self._traces.end(span)

    def said(self, outgoing: Outgoing) -> None:
        """A message goes out."""
        if self._spans:
            for _, decision in outgoing.decisions:
                self._note(decision)

    def _note(self, decision: Decision) -> None:
        span = self._spans.get(decision.request_id)
        if span is None:
            return
        if decision.reason is None:
            span.add_event(
                "allowed",
                {"tallygate.ceiling_tokens": decision.grant.output_ceiling_tokens} if decision.grant else None,
            )
            return
        span.add_event("denied", {"tallygate.reason": decision.reason.name})
        self._traces.end(self._spans.pop(decision.request_id))

    def close(self) -> None:
        """The stream is gone: what runs goes on elsewhere."""
        for span in self._spans.values():
            span.add_event("stream ended")
            self._traces.end(span)
        self._spans.clear()
