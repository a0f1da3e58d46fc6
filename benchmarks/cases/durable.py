"""Finished requests a second until they are durable, next to raw inserts of the same rows into the same database."""

import asyncio
import sys
from contextlib import AsyncExitStack

from benchmarks.bench import Bench, Variant, older_name
from benchmarks.job import Result
from benchmarks.targets import DATABASES, LABELS, Database, Target, database_url

TIMEOUT_S = 180


async def run(bench: Bench) -> None:
    """Authorised before the clock starts; finished in one go."""
    requests = 2_000 if bench.plan.quick else 40_000
    for database in DATABASES[:1] if bench.plan.quick else DATABASES:
        name = f"finish, {LABELS[database]}"
        if not bench.plan.only.search(name):
            continue
        async with bench.real(database) as target:
            job = {"kind": "settle", "requests": requests}
            variant = Variant(name, target, job, "", 0.4, 0.7, "finishes/s", gain=2.0, gain_aim=3.0, requests_each=1)
            results, raw = await _measure(bench, variant, database)
        figure = bench.figure("durable", variant, results[name], raw)
        figure.notes.append("the ceiling is raw inserts of the same rows, 1,024 in a transaction")
        bench.gained("durable", variant, results)
        before = results.get(older_name(name), [])
        for point in ("p50", "p99"):
            bench.latencies("durable", name, results[name], [], point=point, older=before)


async def _measure(bench: Bench, variant: Variant, database: Database) -> tuple[dict[str, list[Result]], list[Result]]:
    chosen = [each for each in (variant, variant.of_older()) if each is not None]
    results: dict[str, list[Result]] = {each.name: [] for each in chosen}
    raw = []
    task = bench.progress.add_task(f"durable: {variant.name}", total=bench.plan.rounds)
    for _ in range(bench.plan.rounds):
        for each in chosen:
            results[each.name].append(await bench.attempt(each))
        raw.append(await _raw_inserts(bench, variant.target, database, variant.job["requests"]))
        bench.progress.advance(task)
    return results, raw


async def _raw_inserts(bench: Bench, target: Target, database: Database, rows: int) -> Result:
    """In a process of its own, while the service has nothing to do."""
    async with AsyncExitStack() as stack:
        empty = await database_url(stack, bench.directory, database, bench.postgres, "raw")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.raw_inserts", target.metering_url, empty, str(rows)),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise RuntimeError("the raw inserts failed")
        return Result(rate=float(out.splitlines()[-1]))
