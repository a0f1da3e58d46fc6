"""Metrics sent by OTLP: the same families that Prometheus scrapes, in the words of OpenTelemetry.

Imported only where an endpoint is given: it needs the extra `otel`.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.environment_variables import OTEL_METRIC_EXPORT_INTERVAL
from opentelemetry.sdk.metrics import export as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from tallygate._server.metrics.endpoint import Read

INTERVAL_MS: Final = 60_000
"""Interval of exports, where the standard's variable does not say another one."""
_SCOPE: Final = InstrumentationScope("tallygate")
_CUMULATIVE: Final = otel.AggregationTemporality.CUMULATIVE


@asynccontextmanager
async def sending_metrics(endpoint: str, resource: Resource, read: Read) -> AsyncIterator[None]:
    """Sends them again and again inside the block, and once more at its end."""
    exporter = OTLPMetricExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
    start_ns = time.time_ns()

    async def send() -> None:
        data = metrics_data(await read(), resource, start_ns, time.time_ns())
        await asyncio.to_thread(exporter.export, data)  # it logs what fails, and what is lost is lost

    async def run() -> None:
        while True:
            await asyncio.sleep(float(os.environ.get(OTEL_METRIC_EXPORT_INTERVAL, INTERVAL_MS)) / 1_000)
            await send()

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await send()
        await asyncio.to_thread(exporter.shutdown)


def metrics_data(families: Sequence[Metric], resource: Resource, start_ns: int, now_ns: int) -> otel.MetricsData:
    """The families as OTLP has them; counters count from `start_ns` on. Times are in ns since 1970."""
    metrics = [
        otel.Metric(family.name, family.documentation, family.unit, _data(family, start_ns, now_ns))
        for family in families
        if family.samples
    ]
    scope = otel.ScopeMetrics(_SCOPE, metrics, "")
    return otel.MetricsData([otel.ResourceMetrics(resource, [scope], "")])


def _data(family: Metric, start_ns: int, now_ns: int) -> otel.DataT:
    if family.type == "histogram":
        return otel.Histogram(list(_histograms(family, start_ns, now_ns)), _CUMULATIVE)
    points = [otel.NumberDataPoint(dict(one.labels), start_ns, now_ns, one.value) for one in family.samples]
    return otel.Sum(points, _CUMULATIVE, is_monotonic=True) if family.type == "counter" else otel.Gauge(points)


def _histograms(family: Metric, start_ns: int, now_ns: int) -> Iterator[otel.HistogramDataPoint]:
    """One for each set of labels: buckets that add up become counts between bounds."""
    by_labels: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in family.samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        by_labels.setdefault(labels, []).append(sample)
    for labels, samples in by_labels.items():
        buckets = [(float(one.labels["le"]), int(one.value)) for one in samples if "le" in one.labels]
        ups = [0, *(count for _, count in buckets)]
        total: Any = next(one.value for one in samples if one.name.endswith("_sum"))
        yield otel.HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=start_ns,
            time_unix_nano=now_ns,
            count=ups[-1],
            sum=total,
            bucket_counts=[upper - lower for lower, upper in pairwise(ups)],
            explicit_bounds=[bound for bound, _ in buckets[:-1]],
            min=0,
            max=0,
        )
