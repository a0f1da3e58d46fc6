"""Metrics of a client, for the registry of prometheus_client that its program has. Needs the extra `metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tallygate.client.client import MeteringClient
from tallygate.client.sync import SyncMeteringClient

AnyClient: TypeAlias = MeteringClient | SyncMeteringClient


class ClientCollector(Collector):
    """Tells what one client does: `REGISTRY.register(ClientCollector(client))`."""

    def __init__(self, client: AnyClient) -> None:
        self._client = client

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now, read from whatever thread asks."""
        client = self._client
        yield _gauge("tallygate_client_connected", "Whether a metering node answers.", int(bool(client.connected_to)))
        yield _gauge("tallygate_client_open_requests", "Requests in memory.", client.open_requests)
        yield _counter("tallygate_client_reports_sent", "Reports sent, those sent again included.", client.reports_sent)
        yield _counter("tallygate_client_disconnects", "Streams that broke.", client.disconnects)
        verdicts = CounterMetricFamily(
            "tallygate_client_authorisations",
            "Authorisations, by verdict and reason.",
            labels=("verdict", "reason"),
        )
        for labels, count in client.verdicts.items():
            verdicts.add_metric(labels, count)
        yield verdicts


def _gauge(name: str, text: str, value: int) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(name, text, value=value)
