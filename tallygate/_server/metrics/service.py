"""The metrics of one service: what every server has, and what it has itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from prometheus_client.metrics_core import Metric

from tallygate._server.grpc.call import Spans
from tallygate._server.grpc.rpc_counts import RpcCounts
from tallygate._server.grpc.server import GrpcServer
from tallygate._server.grpc.tls import ServerCertificates
from tallygate._server.metrics.certificates import certificate_families
from tallygate._server.metrics.endpoint import serving_metrics
from tallygate._server.metrics.families import counter, gauge, seconds
from tallygate._server.metrics.process import ProcessWatch
from tallygate._server.process.service_options import Telling

_log = structlog.get_logger(__name__)


class ServiceMetrics:
    """Those of a process. `read_own` reads what only this service has; `server` is the one that runs now.

    `build`: as the first log line says it. `work`: runs while metrics are told, so that there is something to read.
    """

    def __init__(
        self,
        build: Mapping[str, str],
        read_own: Callable[[], Awaitable[Sequence[Metric]]],
        work: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._build = build
        self._read_own = read_own
        self._work = work
        self.rpcs = RpcCounts()
        self._process = ProcessWatch()
        self.server: GrpcServer | None = None
        self.tracer: Any = None
        """OpenTelemetry's, while spans are sent anywhere."""

    @asynccontextmanager
    async def told(
        self, telling: Telling, service: str, instance: str, *, traces_calls: bool = False
    ) -> AsyncIterator[None]:
        """Tells them inside the block, where and as it is asked for: as this instance of a service, to OpenTelemetry.

        `traces_calls`: whether each call has a span.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        async with AsyncExitStack() as stack:
            if telling.is_asked_for:
                stack.enter_context(self._process.watching())
                if self._work is not None:
                    stack.callback(asyncio.create_task(self._work()).cancel)
            if telling.metrics_listen:
                address = await stack.enter_async_context(serving_metrics(telling.metrics_listen, self.read))
                _log.info("metrics_served", address=address)
            if telling.otlp_endpoint:
                spans = await self._send(stack, telling.otlp_endpoint, service, instance)
                self.rpcs.spans = spans if traces_calls else None
            yield

    async def _send(self, stack: AsyncExitStack, endpoint: str, service: str, instance: str) -> Spans:
        from tallygate._server.metrics.otlp import sending_metrics  # noqa: PLC0415  # an extra
        from tallygate._server.traces import CallSpans, resource_of, sending_spans  # noqa: PLC0415  # likewise

        resource = resource_of(service, instance)
        await stack.enter_async_context(sending_metrics(endpoint, resource, self.read))
        self.tracer = await stack.enter_async_context(sending_spans(endpoint, resource))
        return CallSpans(self.tracer)

    async def read(self) -> Sequence[Metric]:
        """All of them, as they are now."""
        server = self.server
        certificates = server.certificates if server is not None else None
        return [
            *self._process.families(self._build),
            *_rpc_families(self.rpcs),
            *_certificate_families(certificates),
            gauge(
                "tallygate_ready",
                "Whether health checking says SERVING, by name.",
                {name: int(serving) for name, serving in server.serving.items() if name} if server is not None else {},
                "name",
            ),
            *await self._read_own(),
        ]


def _rpc_families(rpcs: RpcCounts) -> Sequence[Metric]:
    called = {method: counts for method, counts in rpcs.methods.items() if counts.codes or counts.open_count}
    ended = {(method, code): number for method, counts in called.items() for code, number in counts.codes.items()}
    durations = {method: counts.durations for method, counts in called.items() if counts.codes}
    open_counts = {method: counts.open_count for method, counts in called.items()}
    return (
        counter("tallygate_rpcs", "Calls that ended, by method and gRPC code.", ended, "method", "code"),
        seconds("tallygate_rpc_duration_seconds", "Calls from begin to end, also of streams.", durations, "method"),
        counter("tallygate_rpcs_unexpected", "Calls that ended by a mistake of the server.", rpcs.unexpected),
        gauge("tallygate_rpcs_open", "Calls under way.", open_counts, "method"),
    )


def _certificate_families(certificates: ServerCertificates | None) -> Sequence[Metric]:
    if certificates is None:
        return certificate_families({}, 0)
    return certificate_families(certificates.in_use(), certificates.failed_reads)
