"""Authorize calls a second, 64 in flight, each for a new request."""

import shutil
from contextlib import AsyncExitStack

from benchmarks import h2load
from benchmarks.bench import Bench, Variant, in_turn, older_name
from benchmarks.figures import Figure
from benchmarks.targets import LABELS, Target

TRIVIAL, REAL = (f"unary, {LABELS[server]}" for server in ("ceiling", "sqlite"))


async def run(bench: Bench) -> None:
    """Throughput, latency, and a client that is not ours."""
    async with AsyncExitStack() as stack:
        targets = await in_turn(stack, bench, ["sqlite"])
        job = {"kind": "unary"}
        variants = [
            Variant(TRIVIAL, targets["ceiling"], job, unit="calls/s"),
            Variant(REAL, targets["sqlite"], job, TRIVIAL, at_least=0.65, aim=0.75, unit="calls/s"),
        ]
        results = await bench.compare("unary", variants)
        if not results.get(REAL):
            return
        before = results.get(older_name(REAL), [])
        for point in ("p50", "p99"):
            bench.latencies("unary", REAL, results[REAL], results[TRIVIAL], point=point, older=before)
        await _confirm(bench, targets)


async def _confirm(bench: Bench, targets: dict[str, Target]) -> None:
    program = shutil.which("h2load")
    if program is None:
        bench.remarks.append("h2load is not installed (Debian: nghttp2-client): no other client confirms unary.")
        return
    seconds = max(1, round(bench.plan.seconds))
    samples: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(bench.plan.rounds):
        for name, target in targets.items():
            samples[name].append(
                await h2load.calls_per_second(program, target.addresses[0], target.services[0], seconds)
            )
    name = f"{REAL}, by h2load (the same request again and again)"
    bench.figures.append(Figure("unary", name, "calls/s", samples["sqlite"], samples["ceiling"]))
