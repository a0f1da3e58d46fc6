"""Calls and streams by plain text, by TLS, and by mTLS with a token: what each of them costs."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import Bench, Variant
from benchmarks.figures import Figure
from benchmarks.guarded_targets import Shape, guarded, tls_options
from benchmarks.job import Result
from benchmarks.judgement import judge
from benchmarks.targets import Target
from tests.harness.tls import Certificates

PLAIN, TLS, PROVED = "plain text", "TLS", "mTLS and a token"
LOADS: Final[dict[str, tuple[dict[str, Any], float, str]]] = {
    "unary": ({"kind": "unary"}, 0.95, "calls/s"),
    "authorise+8+finish 256": ({"mix": "life", "message_size": 256}, 0.99, "reports/s"),
}
"""Loads that are measured: the job, the share of the rate by TLS that is left with proof, and the unit."""


async def run(bench: Bench) -> None:
    """All three nodes at once, in turn, so that what else the machine does meets them all."""
    if not any(bench.plan.only.search(name) for load in LOADS for name in _names(load)):
        return
    async with _targets(bench) as targets:
        for load, (job, at_least, unit) in LOADS.items():
            plain, tls, proved = _names(load)
            variants = [
                Variant(plain, targets[PLAIN], job, unit=unit),
                Variant(tls, targets[TLS], job, plain, unit=unit),
                Variant(proved, targets[PROVED], job, tls, at_least, unit=unit),
            ]
            results = await bench.compare("access", variants)
            for variant in variants[1:]:
                if results.get(variant.name):
                    beside(bench, variant, results[variant.name], results[variant.ceiling])


def _names(load: str) -> list[str]:
    return [f"{load}, {how}" for how in (PLAIN, TLS, PROVED)]


def beside(bench: Bench, variant: Variant, results: list[Result], ceiling: list[Result], case: str = "access") -> None:
    """Figures beside a rate: the server's processor time for each, which drifts less; and how long calls took."""
    samples, tops = processor_us(results), processor_us(ceiling)
    name = f"{variant.name}, processor for each"
    figure = Figure(case, name, "us", samples, tops, lower_is_better=True)
    figure.details = results
    judge(figure, results, ceiling)
    bench.figures.append(figure)
    if results[0].latency_ms:
        for point in ("p50", "p99"):
            bench.latencies(case, variant.name, results, ceiling, point=point)


def processor_us(results: Sequence[Result]) -> list[float]:
    """The server's processor time for each call or report of each round; 0 of what was not measured."""
    return [result.server_cpu / result.rate * 1e6 if result.rate else 0.0 for result in results]


@asynccontextmanager
async def _targets(bench: Bench) -> AsyncIterator[dict[str, Target]]:
    async with AsyncExitStack() as stack:
        certificates = Certificates(Path(bench.directory) / "certificates")
        known = {"ca_file": str(certificates.ca)}
        plain = await stack.enter_async_context(bench.real("sqlite"))
        tls = await stack.enter_async_context(bench.real("sqlite", tls_options(certificates), security=known))
        fleet = await stack.enter_async_context(guarded(bench, Shape(certificates)))
        yield {PLAIN: plain, TLS: tls, PROVED: fleet.node}
