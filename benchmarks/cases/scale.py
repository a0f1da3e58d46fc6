"""One and two worker processes, beside what a second process gives the trivial server."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from statistics import median

from benchmarks.bench import Bench, Variant
from benchmarks.figures import Figure
from benchmarks.job import Result
from benchmarks.judgement import judge
from benchmarks.targets import Target, trivial_pair

CONNECTIONS = 8
"""On a shared port the system spreads connections, not streams."""
JOB = {"message_size": 256}
ONE, TWO = "1 worker", "2 workers, shared port"
TRIVIAL_ONE, TRIVIAL_TWO = "trivial, 1 process", "trivial, 2 processes, shared port"
GAIN_MIN = 1.3
"""Where two trivial processes gain less, there was no processor for the second one."""


async def run(bench: Bench) -> None:
    """PostgreSQL, which all workers share."""
    async with AsyncExitStack() as stack:
        trivial = await stack.enter_async_context(bench.trivial())
        shared, own = await stack.enter_async_context(trivial_pair(bench.directory))
        one, two = [
            await stack.enter_async_context(bench.real("postgresql", ["--workers", workers])) for workers in ("1", "2")
        ]
        variants = [
            Variant(TRIVIAL_ONE, trivial, JOB),
            Variant("trivial, 2 processes, a port each", own, JOB, TRIVIAL_ONE),
            Variant(TRIVIAL_TWO, _often(shared), JOB, TRIVIAL_ONE),
            Variant(ONE, one, JOB),
            Variant(TWO, _often(two), JOB, ONE),
        ]
        results = await bench.compare("scale", variants)
    if all(results.get(name) for name in (ONE, TWO, TRIVIAL_ONE, TRIVIAL_TWO)):
        bench.figures.append(_gain(results))


def _gain(results: Mapping[str, Sequence[Result]]) -> Figure:
    """What two workers gain, of what two trivial processes do."""
    gains, tops = _gains(results[ONE], results[TWO]), _gains(results[TRIVIAL_ONE], results[TRIVIAL_TWO])
    figure = Figure("scale", "gain of 2 workers", "times", gains, tops, at_least=0.85, aim=0.95)
    judge(figure, [*results[ONE], *results[TWO]], [*results[TRIVIAL_ONE], *results[TRIVIAL_TWO]])
    if median(tops) < GAIN_MIN:
        figure.invalid(
            f"does not count: two trivial processes gained only {median(tops):.2f} times, since the generator has no "
            "core of its own; measure on 4 cores or more"
        )
    return figure


def _gains(ones: Sequence[Result], twos: Sequence[Result]) -> list[float]:
    return [two.rate / one.rate if one.rate else 0.0 for one, two in zip(ones, twos, strict=True)]


def _often(target: Target) -> Target:
    return target.with_addresses(target.addresses[:1] * CONNECTIONS)
