"""Lease exchanges a second of the control service, and decisions that had to wait for one."""

from benchmarks.accounts import SERVICE, open_accounts
from benchmarks.bench import Bench, Variant, older_name
from benchmarks.figures import Figure
from benchmarks.judgement import judge, judge_schedule
from benchmarks.targets import DATABASES, LABELS, Database, Target

NODES = (1, 10, 100)
FLEET = 100
OWN_QUICK = 10
WAITED_AT_MOST = 0.001
RATE = 300.0
"""Exchanges a second of a fleet of a hundred nodes that is busy."""
GAINS: dict[Database, tuple[float, float]] = {"sqlite": (8.0, 12.0), "postgresql": (5.0, 10.0)}
"""Number of exchanges in the time that one took in the build before groups: at least, and aim."""
P99_MS = (100.0, 30.0)


async def run(bench: Bench) -> None:
    """Nodes that all want money of one account, the row that they all need; and nodes with an account of their own."""
    for database in DATABASES:
        await _fleet(bench, database, replicas=1)
    await _fleet(bench, "postgresql", replicas=2)
    await _waiting(bench)


async def _fleet(bench: Bench, database: Database, *, replicas: int) -> None:
    label = LABELS[database] if replicas == 1 else f"{replicas} replicas, {LABELS[database]}"
    if not any(bench.plan.only.search(name) for name in _names(label, replicas)):
        return
    async with bench.control_alone(database, replicas=replicas) as target:
        own = await _open_own(bench, target)
        variants = _variants(target, label, own, replicas, GAINS[database])
        results = await bench.compare("leases", variants)
        for variant in variants:
            if variant.name in results:
                before = results.get(older_name(variant.name), [])
                is_paced = "rate" in variant.job
                goal = P99_MS if is_paced else (None, None)
                bench.latencies("leases", variant.name, results[variant.name], [], point="p99", goal=goal, older=before)


async def _open_own(bench: Bench, target: Target) -> list[str]:
    """An account for each node, in the database of the older build as well."""
    count = OWN_QUICK if bench.plan.quick else FLEET
    if target.older is not None:
        await open_accounts(target.older.control, count)
    return await open_accounts(target.control, count)


def _names(label: str, replicas: int) -> list[str]:
    sizes = NODES if replicas == 1 else (FLEET,)
    names = [f"{nodes} node{'s' if nodes > 1 else ''}, one pot, {label}" for nodes in sizes]
    return [*names, f"{FLEET} nodes, a pot each, {label}", f"{FLEET} nodes, {RATE:.0f}/s, {label}"]


def _variants(target: Target, label: str, own: list[str], replicas: int, gains: tuple[float, float]) -> list[Variant]:
    *shared, own_name, paced_name = _names(label, replicas)
    gain, gain_aim = gains
    fleet = {"kind": "leases", "streams": FLEET}
    one_pot = [{**fleet, "streams": nodes, "services": [SERVICE]} for nodes in (NODES if replicas == 1 else (FLEET,))]
    jobs = [*zip(shared, one_pot, strict=True), (own_name, {**fleet, "services": own})]
    paced = Variant(paced_name, target, {**fleet, "services": own, "rate": RATE}, unit="exchanges/s")
    return [
        Variant(
            name,
            target,
            job,
            unit="exchanges/s",
            gain=gain if job["streams"] == FLEET else None,
            gain_aim=gain_aim if job["streams"] == FLEET else None,
        )
        for name, job in jobs
    ] + [paced]


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
