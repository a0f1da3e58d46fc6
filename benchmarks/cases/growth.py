"""Whether it stays as fast and as small when there is more of everything."""

from dataclasses import replace
from typing import Any

from benchmarks.bench import Bench, Variant, older_name
from benchmarks.cases.stream import REPORTS_OF, STREAMS
from benchmarks.figures import Figure
from benchmarks.job import Result
from benchmarks.judgement import judge
from benchmarks.targets import Target

KIB = 1_024
REPORTS = 20_000_000
REPORTS_SECONDS_MAX = 240.0
AT_LEAST, AIM = 0.8, 0.95


async def run(bench: Bench) -> None:
    """SQLite; 256 reports a message, progress only. Each figure is held against the least of its kind.

    Each number of services by itself, one after the other: a node with many leases to give back and to close keeps the
    machine busy for a minute after its measurement.
    """
    scale = 100 if bench.plan.quick else 1
    few, many, most = 1, 1_000 // scale, 100_000 // scale
    full = f"{few:,} service, {most:,} open requests"
    async with bench.real("sqlite", services=few) as one:
        variants = [
            _variant(full, one, "100 open requests", requests=most),
            _variant(f"{full}, any order", one, "100 open requests", requests=most, mix="any order"),
            _variant("100 open requests", one, "", requests=100),
            *_columns(one, most),
            *(
                _variant(f"{streams} stream{'s' if streams > 1 else ''}", one, "16 streams", streams=streams)
                for streams in (1, 16, 256)
            ),
        ]
        results = await bench.compare("growth", variants)
        await _long(bench, one, REPORTS // scale)
    for count in (many, most):
        name = f"{count:,} services, {most:,} open requests"
        if not bench.plan.only.search(name):
            continue
        async with bench.real("sqlite", services=count) as target:
            results |= await _more_services(bench, _variant(name, target, full, requests=most), results)
    _memory(bench, results, full, f"{most:,} services, {most:,} open requests", most)
    await _known(bench, most)


async def _more_services(bench: Bench, variant: Variant, before: dict[str, list[Result]]) -> dict[str, list[Result]]:
    results = await bench.compare("growth", [replace(variant, ceiling="")], keep=False)
    if results.get(variant.name) and before.get(variant.ceiling):
        bench.figure("growth", variant, results[variant.name], before[variant.ceiling])
        bench.gained("growth", variant, results)
    return results


def _variant(name: str, target: Target, ceiling: str, **job: Any) -> Variant:
    job["message_size"] = 256
    if ceiling in {"", name}:
        return Variant(name, target, job)
    return Variant(name, target, job, ceiling, AT_LEAST, AIM)


def _columns(target: Target, most: int) -> list[Variant]:
    """A message has a request once at most, so the fewest that are open are those of one message on each stream."""
    same = {"message_size": 256, "streams": STREAMS}
    fewest = {**same, "mix": "columns", "requests": STREAMS * 256}
    many = {**same, "mix": "columns, any order", "requests": most}
    ceiling = Variant(f"{STREAMS * 256:,} open requests, columns", target, fewest, older_job=_in_reports(fewest))
    name = f"{most:,} open requests, any order, columns"
    return [ceiling, Variant(name, target, many, ceiling.name, 0.7, 0.9, older_job=_in_reports(many))]


def _in_reports(job: dict[str, Any]) -> dict[str, Any]:
    return {**job, "mix": REPORTS_OF[job["mix"]]}


def _memory(bench: Bench, results: dict[str, list[Result]], one: str, many: str, count: int) -> None:
    """By the first round, in which neither had been used before."""
    figures = _memory_figures(results, one, many, count)
    before = _memory_figures(results, older_name(one), older_name(many), count)
    bench.figures += figures
    bench.figures += [_beside(bench, figure, older) for figure, older in zip(figures, before, strict=False)]


def _memory_figures(results: dict[str, list[Result]], one: str, many: str, count: int) -> list[Figure]:
    if one not in results or many not in results:
        return []
    for_one, for_many = results[one][0], results[many][0]
    if for_one.failure or for_many.failure:
        return []
    requests = _grown_bytes(for_one)
    more = (_grown_bytes(for_many) - requests) / count
    return [
        _memory_figure("memory per open request", requests / count, 1.2),
        _memory_figure("memory per service with a lease, beside its open request", more),
    ]


def _beside(bench: Bench, figure: Figure, older: Figure) -> Figure:
    """The same, held against the older build's."""
    name = bench.against_older(figure.name)
    return Figure(figure.case, name, figure.unit, figure.samples, older.samples, lower_is_better=True)


async def _known(bench: Bench, count: int) -> None:
    """Services that are known, and no more: nothing runs on them, and none has a lease."""
    name, learned = "memory per known service without a lease", f"{count:,} services learned"
    if not bench.plan.only.search(name) and not bench.plan.only.search(learned):
        return
    task = bench.progress.add_task(f"growth: {name}", total=1)
    async with bench.real("sqlite", services=count, suspended=True) as target:
        variant = Variant(name, target, {"kind": "known", "mix": "refused", "requests": count})
        result = await bench.attempt(variant)
        older = variant.of_older()
        before = await bench.attempt(older) if older else None
    bench.progress.advance(task)
    figure = _memory_figure(name, _grown_bytes(result) / count, 1.0)
    figure.details = [result]
    judge(figure, [result])
    bench.figures.append(figure)
    rate = Variant(learned, variant.target, variant.job, unit="services/s")
    bench.figure("growth", rate, [result], [])
    bench.gained("growth", rate, {older_name(learned): [before] if before else [], learned: [result]})
    if before is not None:
        beside = _beside(bench, figure, _memory_figure(name, _grown_bytes(before) / count))
        judge(beside, [result], [before])
        bench.figures.append(beside)


def _grown_bytes(result: Result) -> int:
    return result.server_rss_open_bytes - result.server_rss_before_bytes


def _memory_figure(name: str, size_bytes: float, at_least: float | None = None) -> Figure:
    aim = None if at_least is None else at_least / 2
    return Figure("growth", name, "KiB", [size_bytes / KIB], [], at_least, aim, lower_is_better=True)


async def _long(bench: Bench, target: Target, reports: int) -> None:
    """Once: it is long."""
    name = f"{reports:,} reports"
    if not bench.plan.only.search(name):
        return
    task = bench.progress.add_task(f"growth: {name}", total=1)
    job = {"reports_max": reports, "seconds": REPORTS_SECONDS_MAX}
    result = await bench.attempt(Variant(name, target, job))
    bench.progress.advance(task)
    if len(result.series) < 2:  # noqa: PLR2004  # a beginning and an end
        bench.remarks.append(f"growth: fewer than two samples of {name} in {REPORTS_SECONDS_MAX:.0f} s.")
        return
    first, last = result.series[0], result.series[-1]
    rate = Figure("growth", f"rate in the end, of {name}", "reports/s", [last["rate"]], [first["rate"]], 0.95, 1.0)
    growth = [last["rss_bytes"] / first["rss_bytes"] - 1]
    memory = Figure("growth", f"memory in the end, of {name}", "growth", growth, [], 0.05, 0.0, lower_is_better=True)
    for figure in (rate, memory):
        figure.details = [result]
        judge(figure, [result])
        if result.reports < reports:
            figure.notes.append(f"only {result.reports:,} reports in {REPORTS_SECONDS_MAX:.0f} s")
        bench.figures.append(figure)
