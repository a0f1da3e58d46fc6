"""Metrics of the middleware, for the registry of its server. Needs prometheus_client, which vLLM and SGLang have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from tallygate.client import MeteringClient
from tallygate.client.metrics import ClientCollector


class MiddlewareCollector(Collector):
    """Tells what a middleware and its client do."""

    def __init__(self, client: MeteringClient, requests: Counter[str]) -> None:
        """`requests`: number of requests by what became of them, as the middleware counts them."""
        self._client = ClientCollector(client)
        self._requests = requests

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        yield from self._client.collect()
        requests = CounterMetricFamily(
            "tallygate_middleware_requests", "Requests, by what became of them.", labels=("outcome",)
        )
        for outcome, count in dict(self._requests).items():
            requests.add_metric((outcome,), count)
        yield requests


def register(client: MeteringClient, requests: Counter[str]) -> None:
    """Has the registry of this process tell them, unless another middleware of it is told there already."""
    with suppress(ValueError):
        REGISTRY.register(MiddlewareCollector(client, requests))
