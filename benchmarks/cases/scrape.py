"""Scrapes of both services with 100,000 services and as many open requests."""

import json
from contextlib import AsyncExitStack
from typing import Final

from benchmarks.accounts import set_up
from benchmarks.bench import Bench, Variant
from benchmarks.figures import Figure
from benchmarks.judgement import latency_figure
from benchmarks.populate import make_pattern, multiply
from benchmarks.targets import ANY_PORT, Target, database_url, serve
from tests.harness.programs.programs import Program, until_said

COUNT: Final = 100_000
SECONDS: Final = 35.0
"""Time over which scrapes are spread: a survey of the database, and some of leases, come within it."""
STALL_MAX_MS, STALL_AIM_MS = 50.0, 20.0
POINTS: Final = ("median", "longest", "longest call meanwhile", "longest call without scrapes")


async def run(bench: Bench) -> None:
    """SQLite, once: to open them all takes minutes."""
    quick = bench.plan.quick
    count = COUNT // 100 if quick else COUNT
    task = bench.progress.add_task("scrape", total=1)
    async with AsyncExitStack() as stack:
        control, node, target = await _pair(stack, bench, count)
        programs = {"control": control, "node": node}
        watched = {name: (await _metrics_of(program), program.address) for name, program in programs.items()}
        job = {"kind": "scrape", "requests": count, "watched": watched, "seconds": 2.0 if quick else SECONDS}
        result = await bench.attempt(Variant("scrape", target, job))
        await bench.reconcile("scrape", target)
    bench.progress.advance(task)
    for name in watched:
        for point in POINTS:
            figure = Figure("scrape", f"{name}, {count:,} services and open requests, {point}", "ms", [])
            if point == "longest call meanwhile":
                figure.at_least, figure.aim = STALL_MAX_MS, STALL_AIM_MS
            bench.figures.append(latency_figure(figure, f"{name}, {point}", [result], []))


async def _pair(stack: AsyncExitStack, bench: Bench, count: int) -> tuple[Program, Program, Target]:
    directory, told = bench.directory, ("--metrics-listen", ANY_PORT)
    control_url = await database_url(stack, directory, "sqlite", bench.postgres, "control")
    metering_url = await database_url(stack, directory, "sqlite", bench.postgres, "metering")
    control = await serve(stack, directory, "control", ("--database-url", control_url))
    await set_up(control.address)
    await make_pattern(control.address, suspended=False)
    await control.stop()
    names = await multiply(control_url, count)
    control = await serve(stack, directory, "control", ("--database-url", control_url, *told))
    to_both = ("--control", control.address, "--database-url", metering_url, *told)
    node = await serve(stack, directory, "metering", to_both)
    return control, node, Target([node.address], [control.pid, node.pid], names, control.address, metering_url)


async def _metrics_of(program: Program) -> str:
    await until_said(program.log, "metrics_served")
    lines = [json.loads(line) for line in program.log.read_text().splitlines()]
    return next(str(line["address"]) for line in lines if line["event"] == "metrics_served")
