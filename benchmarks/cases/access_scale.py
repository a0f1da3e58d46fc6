"""Tokens and teams by the thousand: looking one up, deciding with one that is known, and the memory that they take."""

from contextlib import AsyncExitStack
from typing import Any, Final

from benchmarks.bench import Bench, Variant
from benchmarks.figures import Figure
from benchmarks.guarded_targets import Guarded, Shape, guarded
from benchmarks.job import Result
from benchmarks.judgement import judge
from benchmarks.processor import Meter

KIB: Final = 1_024
FEW: Final = 10
RESOLVES_PER_S: Final = 16.0
"""Number of look-ups a second: each of ten tokens comes again when control has forgotten it, after half a second."""
SLOWER_MAX: Final = 1.1
"""Goal of what may be more with many tokens than with few."""


async def run(bench: Bench) -> None:
    """Few and many, in turn; tokens are shown last, since a node remembers them."""
    tokens, teams, shown = (2_000, 200, 500) if bench.plan.quick else (100_000, 10_000, 10_000)
    few, many = f"{FEW} tokens", f"{tokens:,} tokens, {teams:,} teams"
    if not any(bench.plan.only.search(each) for each in (*_names(few), *_names(many), *_memory_names(tokens, shown))):
        return
    async with AsyncExitStack() as stack:
        fleets = {
            few: await stack.enter_async_context(guarded(bench, Shape(tokens=FEW, teams=FEW))),
            many: await stack.enter_async_context(guarded(bench, Shape(tokens=tokens, teams=teams))),
        }
        bench.figures.append(unshown(_memory_names(tokens, shown)[1], fleets[few], fleets[many]))
        await _resolve(bench, fleets, few, many)
        await _decide(bench, fleets, few, many)
        await _remember(bench, fleets[many], tokens, shown)


def _names(which: str) -> list[str]:
    return [f"a token looked up by control, {which}", f"unary, a known token, {which}"]


async def _resolve(bench: Bench, fleets: dict[str, Guarded], few: str, many: str) -> None:
    looks = 20 if bench.plan.quick else 100
    names = {which: _names(which)[0] for which in (few, many)}

    def variant(which: str, ceiling: str) -> Variant:
        fleet = fleets[which]
        every = max(1, len(fleet.tokens) // looks)
        job: dict[str, Any] = {"kind": "resolve", "rate": RESOLVES_PER_S, "reports_max": looks}
        return Variant(names[which], fleet.control, {**job, "tokens": fleet.tokens[::every][:looks]}, ceiling)

    results = await bench.compare("access", [variant(few, ""), variant(many, names[few])], keep=False)
    for which in (few, many):
        own = results.get(names[which])
        ceiling = results[names[few]] if which == many and own else []
        for point in ("p50", "p99") if own else ():
            goal = (SLOWER_MAX, None) if ceiling and point == "p50" else (None, None)
            bench.latencies("access", names[which], own or [], ceiling, point=point, goal=goal)


async def _decide(bench: Bench, fleets: dict[str, Guarded], few: str, many: str) -> None:
    first, other = (_names(which)[1] for which in (few, many))
    job = {"kind": "unary"}
    variants = [
        Variant(first, fleets[few].node, job, unit="calls/s"),
        Variant(other, fleets[many].node, job, first, 1 / SLOWER_MAX, unit="calls/s"),
    ]
    results = await bench.compare("access", variants)
    for name in (first, other) if results.get(other) else ():
        bench.latencies("access", name, results[name], results[first] if name == other else [], point="p99")


def _memory_names(tokens: int, shown: int) -> list[str]:
    return [f"memory of a node per valid token shown, of {shown:,}", f"memory of a node, {tokens:,} tokens, none shown"]


async def _remember(bench: Bench, fleet: Guarded, tokens: int, shown: int) -> None:
    """Once: what a node has seen it remembers."""
    name = _memory_names(tokens, shown)[0]
    if not bench.plan.only.search(name):
        return
    task = bench.progress.add_task(f"access: {name}", total=1)
    job = {"kind": "shown", "tokens": fleet.tokens[-shown:], "security": {}}
    result = await bench.attempt(Variant(name, fleet.node, job))
    bench.progress.advance(task)
    bench.figures.append(memory_figure(name, result, shown))


def unshown(name: str, few: Guarded, many: Guarded) -> Figure:
    """What a node takes that has just begun: tokens that control has, and nobody has shown, take nothing of it."""
    own, top = (Meter(fleet.node.pids).read().server_rss_bytes / KIB / KIB for fleet in (many, few))
    return Figure("access", name, "MiB", [own], [top], SLOWER_MAX, lower_is_better=True)


def memory_figure(name: str, result: Result, shown: int) -> Figure:
    """What a node grew by, for each token."""
    grown_bytes = result.server_rss_open_bytes - result.server_rss_before_bytes
    figure = Figure("access", name, "KiB", [grown_bytes / shown / KIB], lower_is_better=True)
    figure.details = [result]
    judge(figure, [result])
    return figure
