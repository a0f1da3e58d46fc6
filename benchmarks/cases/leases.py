"""Lease exchanges a second of the control service, and decisions that had to wait for one."""

from benchmarks.bench import Bench, Variant, older_name
from benchmarks.figures import Figure
from benchmarks.judgement import judge, judge_schedule
from benchmarks.targets import LABELS

NODES = (1, 10, 100)
WAITED_AT_MOST = 0.001


async def run(bench: Bench) -> None:
    """All nodes want money of one account: the row that they all need."""
    async with bench.control_alone("sqlite") as target:
        variants = [
            Variant(
                f"{nodes} node{'s' if nodes > 1 else ''}, one pot, {LABELS['sqlite']}",
                target,
                {"kind": "leases", "streams": nodes},
                unit="exchanges/s",
            )
            for nodes in NODES
        ]
        results = await bench.compare("leases", variants)
        for variant in variants:
            if variant.name in results:
                before = results.get(older_name(variant.name), [])
                bench.latencies("leases", variant.name, results[variant.name], [], point="p99", older=before)
    await _waiting(bench)


async def _waiting(bench: Bench) -> None:
    """At a steady load well below what the node can take, so that what waits does not wait for the processor."""
    name = "authorisations answered out of turn, half load"
    if not bench.plan.only.search(name):
        return
    async with bench.real("sqlite") as target:
        job = {"mix": "life", "message_size": 256}
        full = await bench.attempt(Variant("full rate", target, job))
        rate = full.rate / 2
        if rate <= 0:
            bench.remarks.append(f"leases: no rate to take half of, so {name} were not counted.")
            return
        paced = {**job, "kind": "pace", "rate": rate}
        results = [await bench.attempt(Variant(name, target, paced)) for _ in range(bench.plan.rounds)]
    shares = [result.late_authorisations / max(1, result.authorisations) for result in results]
    figure = Figure("leases", name, "share", shares, at_least=WAITED_AT_MOST, aim=0.0, lower_is_better=True)
    figure.details = results
    judge(figure, results)
    judge_schedule(figure, results, rate)
    bench.figures.append(figure)
