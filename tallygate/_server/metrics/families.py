"""Families of metrics, made of plain numbers at the moment of a scrape."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final, TypeAlias

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from tallygate._server.metrics.histogram import Histogram

Number: TypeAlias = int | float
ByLabels: TypeAlias = Mapping[Any, Number]
"""Numbers by the values of labels: a text for one label, else a tuple in the order of the labels' names."""

NS_PER_S: Final = 1_000_000_000


def counter(name: str, text: str, numbers: Number | ByLabels, *labels: str) -> Metric:
    """A number that only grows while the process lives; its sample has `_total` behind the name."""
    family = CounterMetricFamily(name, text, labels=labels)
    for key, number in _by_labels(numbers).items():
        family.add_metric(_values(key), number)
    return family


def gauge(name: str, text: str, numbers: Number | ByLabels, *labels: str) -> Metric:
    """A number that goes up and down."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, number in _by_labels(numbers).items():
        family.add_metric(_values(key), number)
    return family


def seconds(name: str, text: str, histograms: Histogram | Mapping[Any, Histogram], *labels: str) -> Metric:
    """Durations that were observed in nanoseconds, told in seconds."""
    return _histogram(name, text, histograms, labels, NS_PER_S)


def sizes(name: str, text: str, histogram: Histogram) -> Metric:
    """Numbers of things, as they were observed."""
    return _histogram(name, text, histogram, (), 1)


def _histogram(
    name: str,
    text: str,
    histograms: Histogram | Mapping[Any, Histogram],
    labels: tuple[str, ...],
    per_unit: int,
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    by_labels = {(): histograms} if isinstance(histograms, Histogram) else histograms
    for key, one in by_labels.items():
        bounds = [*(format(bound / per_unit, "g") for bound in one.bounds), "+Inf"]
        family.add_metric(_values(key), list(zip(bounds, accumulate(one.counts), strict=True)), one.sum / per_unit)
    return family


def _by_labels(numbers: Number | ByLabels) -> ByLabels:
    return numbers if isinstance(numbers, Mapping) else {(): numbers}


def _values(key: Any) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key
