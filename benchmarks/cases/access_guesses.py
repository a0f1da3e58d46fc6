"""Guesses of tokens: the processor time that they cost servers, and how long somebody else's calls take beside them."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.bench import Bench, Variant
from benchmarks.figures import Figure
from benchmarks.guarded_targets import Guarded, Shape, guarded
from benchmarks.guess_load import MISSING, WHO_AM_I, WRONG
from benchmarks.job import Result
from benchmarks.judgement import judge, judge_schedule
from benchmarks.targets import ANY_PORT
from benchmarks.unary_load import AUTHORIZE
from tests.harness.tls import Certificates

MIB: Final = 2**20
OTHER_PEER: Final = "[::1]:0"
"""Address of the callers that do not guess: servers tell peers apart by address."""
RATE: Final = 200.0
"""Number of calls a second of those who do not guess..."""
GUESSES_PER_S: Final = 500.0
"""... and of those who do, beside them."""
SECONDS: Final = 20.0
WARM_UP_S, BEFORE_S = 3.0, 6.0
"""Time until the others' calls count, and by how much longer guesses last."""
BURST_S: Final = 120.0
SLOWER_MAX: Final = 1.1
ALONE, BESIDE_MISSING, BESIDE_WRONG = (
    f"unary, {RATE:.0f} a second, {beside}"
    for beside in (
        "alone",
        f"beside {GUESSES_PER_S:,.0f} calls/s without a token",
        f"beside {GUESSES_PER_S:,.0f} wrong tokens/s",
    )
)


async def run(bench: Bench) -> None:
    """Others' calls first, then guesses as fast as they are refused."""
    count = 1_000 if bench.plan.quick else 10_000
    if not any(bench.plan.only.search(name) for name in (ALONE, BESIDE_MISSING, BESIDE_WRONG, *_names(count))):
        return
    others = _has_other_peer()
    if not others:
        bench.remarks.append("access: no IPv6 on loopback, so who guesses has the address of those who do not.")
    certificates = Certificates(Path(bench.directory) / "guesses")
    async with guarded(bench, Shape(certificates, OTHER_PEER if others else ANY_PORT)) as fleet:
        await _others(bench, fleet)
        await _costs(bench, fleet, count)


def _has_other_peer() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def _others(bench: Bench, fleet: Guarded) -> None:
    seconds = 2.0 if bench.plan.quick else SECONDS
    job = {"kind": "unary", "rate": RATE, "seconds": seconds, "warm_up_seconds": WARM_UP_S}

    def beside(expected: str) -> Variant:
        lasts_s = seconds + BEFORE_S
        guesses = _guesses(AUTHORIZE, expected, round(GUESSES_PER_S * lasts_s))
        return Variant(expected, fleet.door, {**guesses, "rate": GUESSES_PER_S, "seconds": lasts_s})

    variants = [
        Variant(ALONE, fleet.node, job),
        Variant(BESIDE_MISSING, fleet.node, job, ALONE, beside=beside(MISSING)),
        Variant(BESIDE_WRONG, fleet.node, job, BESIDE_MISSING, beside=beside(WRONG)),
    ]
    results = await bench.compare("access", variants, keep=False)
    _compare(bench, results, ALONE, "")
    _compare(bench, results, BESIDE_MISSING, ALONE)
    _compare(bench, results, BESIDE_WRONG, ALONE, SLOWER_MAX)
    _compare(bench, results, BESIDE_WRONG, BESIDE_MISSING, SLOWER_MAX)


def _compare(
    bench: Bench, results: dict[str, list[Result]], name: str, ceiling: str, at_most: float | None = None
) -> None:
    if not results.get(name) or (ceiling and not results.get(ceiling)):
        return
    tops = results[ceiling] if ceiling else []
    named = f"{name}; against {ceiling.rpartition(', ')[2]}" if ceiling else name
    for point, goal in (("p50", None), ("p99", at_most)):
        figure = bench.latencies("access", named, results[name], tops, point=point, goal=(goal, None))
        judge_schedule(figure, results[name] + tops, RATE)


async def _costs(bench: Bench, fleet: Guarded, count: int) -> None:
    missing_at_node, wrong_at_node, missing_at_control, wrong_at_control = _names(count)
    at_node, at_control = (AUTHORIZE, fleet.door), (WHO_AM_I, fleet.control)
    variants = [
        Variant(name, target, {**_guesses(method, expected, count), "seconds": BURST_S}, ceiling)
        for name, (method, target), expected, ceiling in (
            (missing_at_node, at_node, MISSING, ""),
            (wrong_at_node, at_node, WRONG, missing_at_node),
            (missing_at_control, at_control, MISSING, ""),
            (wrong_at_control, at_control, WRONG, missing_at_control),
        )
    ]
    results = await bench.compare("access", variants, keep=False)
    for wrong, missing in ((wrong_at_node, missing_at_node), (wrong_at_control, missing_at_control)):
        if results.get(wrong):
            bench.figures += costs(wrong, missing, results[wrong], results[missing])
    if results.get(wrong_at_node):
        bench.figures.append(grown(wrong_at_node, results[wrong_at_node]))


def _names(count: int) -> list[str]:
    calls = (f"{count:,} calls without a token", f"{count:,} wrong tokens")
    return [f"{what} at {where}" for where in ("a node", "control") for what in calls]


def _guesses(method: str, expected: str, count: int) -> dict[str, Any]:
    return {"kind": "guess", "method": method, "expected": expected, "reports_max": count}


def costs(wrong: str, missing: str, wrongs: Sequence[Result], missings: Sequence[Result]) -> list[Figure]:
    """Processor time of all programs, how much more of it wrong tokens take, and what of that is not the node's."""
    figures = [
        _seconds(f"{name}, processor", [sum(each.server_seconds) for each in results], results)
        for name, results in ((missing, missings), (wrong, wrongs))
    ]
    more = [sum(w.server_seconds) - sum(m.server_seconds) for w, m in zip(wrongs, missings, strict=True)]
    figures.append(_seconds(f"{wrong}, more than without a token", more, [*missings, *wrongs]))
    if max(len(each.server_seconds) for each in wrongs) > 1:
        behind = [sum(each.server_seconds[1:]) for each in wrongs]
        figures.append(_seconds(f"{wrong}, processor of control", behind, wrongs))
    return figures


def _seconds(name: str, samples: list[float], results: Sequence[Result]) -> Figure:
    figure = Figure("access", name, "s", samples, lower_is_better=True)
    figure.details = list(results)
    judge(figure, results)
    return figure


def grown(name: str, results: Sequence[Result]) -> Figure:
    """Memory in the last round, when the node is full of wrong tokens: the growth of a bounded store ends."""
    last = results[-1]
    grown_bytes = last.server_rss_bytes - last.server_rss_before_bytes
    figure = Figure("access", f"{name}, memory in the last round", "MiB", [grown_bytes / MIB], lower_is_better=True)
    figure.details = [last]
    judge(figure, [last])
    return figure
