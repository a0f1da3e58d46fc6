"""How long an authorisation takes, on a stream that has other things to say too, at parts of what it can take."""

from contextlib import AsyncExitStack
from statistics import median

from benchmarks.bench import Bench, Variant, in_turn

LOADS = (0.1, 0.5, 0.8)
GOAL_LOAD, GOAL_AT_MOST, GOAL_AIM = 0.5, 3.0, 1.5
SLOW_MS = 5.0


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
            paced = {**job, "kind": "pace", "rate": load * rate}
            variants += [
                Variant(f"{load:.0%} of {rate:,.0f}/s, trivial", targets["ceiling"], paced),
                Variant(
                    f"{load:.0%} of {rate:,.0f}/s, SQLite",
                    targets["sqlite"],
                    paced,
                    ceiling=f"{load:.0%} of {rate:,.0f}/s, trivial",
                ),
            ]
        results = await bench.compare("latency", variants)
        for load in LOADS:
            name = f"{load:.0%} of {rate:,.0f}/s"
            if f"{name}, SQLite" not in results:
                continue
            for point in ("p50", "p99", "p99.9"):
                goal = (GOAL_AT_MOST, GOAL_AIM) if (load, point) == (GOAL_LOAD, "p99") else (None, None)
                bench.latencies(
                    "latency", name, results[f"{name}, SQLite"], results[f"{name}, trivial"], point=point, goal=goal
                )
