"""The metrics that every server has, and the address at which they are scraped."""

import asyncio
import socket
import urllib.request
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tallygate._server.errors import ConfigurationError
from tallygate._server.metrics.certificates import expiry_s
from tallygate._server.metrics.endpoint import LoopCollector, serving_metrics
from tallygate._server.metrics.families import counter, gauge, seconds
from tallygate._server.metrics.histogram import MS, Histogram
from tests.harness.tls import Certificates


async def nothing() -> Sequence[Metric]:
    return ()


async def scrape(address: str) -> dict[str, float]:
    """The samples without labels of what is told at that address."""

    def fetch() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics") as response:
            return str(response.read().decode())

    text = await asyncio.to_thread(fetch)
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }


def test_a_number_falls_into_the_bucket_of_its_bound() -> None:
    """A bound is the greatest number of its bucket; what is above all of them is counted as well."""
    histogram = Histogram((10, 20))
    for number in (0, 10, 11, 20, 21):
        histogram.observe(number)
    histogram.observe(1, 3)
    assert histogram.counts == [5, 2, 1]
    assert histogram.sum == 65


def test_durations_are_told_in_seconds() -> None:
    """Buckets add up, as Prometheus has them."""
    histogram = Histogram((MS, 20 * MS))
    for duration_ns in (MS, 3 * MS, 100 * MS):
        histogram.observe(duration_ns)
    samples = [(sample.labels.get("le"), sample.value) for sample in seconds("a_seconds", "Text.", histogram).samples]
    assert samples == [("0.001", 1), ("0.02", 2), ("+Inf", 3), (None, 3), (None, 0.104)]


def test_labels_are_one_text_or_several() -> None:
    """In the order of their names."""
    (one,) = counter("a", "Text.", {"x": 1}, "kind").samples
    (two,) = gauge("b", "Text.", {("x", "y"): 2}, "kind", "of").samples
    assert (one.name, one.labels) == ("a_total", {"kind": "x"})
    assert two.labels == {"kind": "x", "of": "y"}


async def test_numbers_are_read_on_the_loop() -> None:
    """Where they belong, whatever thread asks."""
    loops = []

    async def read() -> Sequence[Metric]:
        loops.append(asyncio.get_running_loop())
        return [gauge("some", "Text.", 3)]

    async with serving_metrics("127.0.0.1:0", read) as address:
        assert await scrape(address) == {"tallygate_loop_answers": 1.0, "some": 3.0}
    assert loops == [asyncio.get_running_loop()]


async def test_a_loop_that_does_not_answer_is_told() -> None:
    """A scrape ends all the same, without the numbers of that loop."""

    async def read() -> Sequence[Metric]:
        await asyncio.Event().wait()
        return ()

    collector = LoopCollector(read, asyncio.get_running_loop(), answer_max_s=0.01)
    families = await asyncio.to_thread(lambda: list(collector.collect()))
    assert [(sample.name, sample.value) for family in families for sample in family.samples] == [
        ("tallygate_loop_answers", 0)
    ]


async def test_a_port_that_is_taken_is_said() -> None:
    """In a sentence, before anything is served."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigurationError, match="Cannot listen on 127"):
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(serving_metrics(f"127.0.0.1:{other.getsockname()[1]}", nothing))


def test_the_first_certificate_that_ends_counts(tmp_path: Path) -> None:
    """Of a chain, wherever in it that stands."""
    made = Certificates(tmp_path)
    sooner, later = made.expired_server().certificate.read_bytes(), made.server().certificate.read_bytes()
    ends_s = load_pem_x509_certificate(sooner).not_valid_after_utc.timestamp()
    assert expiry_s(later + sooner) == expiry_s(sooner + later) == expiry_s(sooner) == ends_s < expiry_s(later)
