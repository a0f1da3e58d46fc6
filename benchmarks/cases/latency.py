"""How long an authorisation takes, on a stream that has other things to say too, at parts of what it can take."""

from contextlib import AsyncExitStack
from statistics import median

from benchmarks.bench import Bench, Variant, in_turn, older_name
from benchmarks.job import Result
from benchmarks.judgement import judge_schedule
from benchmarks.targets import LABELS

LOADS = (0.1, 0.5, 0.8)
GOAL_LOAD, GOAL_AT_MOST, GOAL_AIM = 0.5, 3.0, 1.5


async def run(bench: Bench) -> None:
    """The rate of whole lives at 256 a message is found first; then messages leave on schedule, at parts of it."""
    async with AsyncExitStack() as stack:
        targets = await in_turn(stack, bench, ["sqlite"])
        job = {"mix": "life", "message_size": 256}
        full = [await bench.attempt(Variant("full rate", targets["sqlite"], job)) for _ in range(bench.plan.rounds)]
        rate = median(result.rate for result in full)
        if rate <= 0:
            bench.remarks.append("latency: no rate to take parts of, so not measured.")
            return
        variants = []
        for load in LOADS:
            paced = {**job, "mix": "even life", "kind": "pace", "rate": load * rate}
            variants += [Variant(f"{load:.0%} on {name}", target, paced) for name, target in targets.items()]
        results = await bench.compare("latency", variants, keep=False)
        for load in LOADS:
            _figures(bench, load, load * rate, results)


def _figures(bench: Bench, load: float, rate: float, results: dict[str, list[Result]]) -> None:
    own, ceiling = (results.get(f"{load:.0%} on {name}", []) for name in ("sqlite", "ceiling"))
    if not own or not ceiling:
        return
    for point in ("p50", "p99", "p99.9"):
        goal = (GOAL_AT_MOST, GOAL_AIM) if (load, point) == (GOAL_LOAD, "p99") else (None, None)
        name = f"authorise at {load:.0%} load, {LABELS['sqlite']}"
        before = results.get(older_name(f"{load:.0%} on sqlite"), [])
        figure = bench.latencies("latency", name, own, ceiling, point=point, goal=goal, older=before)
        figure.notes.append(f"at {rate:,.0f} reports/s")
        judge_schedule(figure, own + ceiling, rate)
