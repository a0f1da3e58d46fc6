"""What people ask of the control service, with 1,000,000 accounts and with 100."""

from contextlib import AbstractAsyncContextManager

from benchmarks.bench import Bench, Variant
from benchmarks.cases.access_cost import processor_us
from benchmarks.control_load import METHODS, MODELS
from benchmarks.figures import Figure
from benchmarks.job import Result
from benchmarks.judgement import judge
from benchmarks.targets import DATABASES, LABELS, Crowd, Database, crowded_control

AT_LEAST, AIM = 0.8, 0.95
MIB = 2**20
START, MEMORY = "time to start", "memory once started"


async def run(bench: Bench) -> None:
    """Each figure is held against the same with 100 accounts: the same number of models, and a service each."""
    few, many = 100, 10_000 if bench.plan.quick else 1_000_000
    for database in DATABASES[:1] if bench.plan.quick else DATABASES:
        if any(bench.plan.only.search(_name(what, many, database)) for what in (*METHODS, START, MEMORY)):
            await _run(bench, database, few, many)


def _name(what: str, accounts: int, database: Database) -> str:
    return f"{what}, {accounts:,} accounts, {LABELS[database]}"


async def _run(bench: Bench, database: Database, few: int, many: int) -> None:
    def crowd(accounts: int) -> AbstractAsyncContextManager[Crowd]:
        told = bench.directory, database, bench.postgres, accounts, MODELS
        return crowded_control(*told, starts=bench.plan.rounds)

    async with crowd(few) as small, crowd(many) as large:
        _started(bench, database, {few: small, many: large})
        variants = []
        for method in METHODS:
            job = {"kind": "control", "method": method}
            ceiling = Variant(_name(method, few, database), small.target, {**job, "requests": few}, unit="calls/s")
            goal = (ceiling.name, AT_LEAST, AIM, "calls/s")
            own = Variant(_name(method, many, database), large.target, {**job, "requests": many}, *goal)
            variants += [ceiling, own]
        results = await bench.compare("control", variants)
        for variant in variants:
            if variant.ceiling and results.get(variant.name):
                _beside(bench, variant.name, results[variant.name], results[variant.ceiling])


def _beside(bench: Bench, name: str, results: list[Result], ceiling: list[Result]) -> None:
    """The server's processor time for each call, which drifts less than the rate; and how long calls took."""
    figure = Figure("control", f"{name}, processor for each", "us", processor_us(results), processor_us(ceiling))
    figure.lower_is_better, figure.details = True, results
    judge(figure, results, ceiling)
    bench.figures.append(figure)
    for point in ("p50", "p99"):
        bench.latencies("control", name, results, ceiling, point=point)


def _started(bench: Bench, database: Database, crowds: dict[int, Crowd]) -> None:
    few, many = crowds.values()
    name = _name("{}", max(crowds), database)
    samples = (
        (START, "s", many.starts_s, few.starts_s),
        (MEMORY, "MiB", [many.rss_bytes / MIB], [few.rss_bytes / MIB]),
    )
    for what, unit, own, top in samples:
        bench.figures.append(Figure("control", name.format(what), unit, own, top, lower_is_better=True))
