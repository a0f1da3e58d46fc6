"""Exports of a million records: how long they take, and what processor and memory the command and the node need."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.accounts import ACCOUNT, METERED_WITHIN_S, ONLY_REQUEST, booked, meter_once
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.job import Result
from benchmarks.populate_metering import SPAN_US, multiply_requests, tokens_of
from benchmarks.processor import peak_bytes, processor_s
from benchmarks.targets import DATABASES, LABELS, Database, Target

RECORDS: Final = 1_000_000
FEW, MANY = 10, 10_000
SECONDS_MAX, SECONDS_AIM = 60.0, 40.0
MEMORY_MAX_MIB, MEMORY_AIM_MIB = 300.0, 200.0
US_PER_S: Final = 1_000_000
KIB: Final = 2**10
MIB: Final = 2**20
PARQUET, CSV, SUMS, FOCUS = "to Parquet", "to CSV", "summed by minute to Parquet", "to FOCUS"
EXPORTS: Final = {
    PARQUET: ("export", "--format", "parquet", "--what", "requests"),
    CSV: ("export", "--format", "csv", "--what", "requests"),
    SUMS: ("export", "--format", "parquet", "--what", "aggregates"),
    FOCUS: ("focus", "--provider", "Example AI"),
}


@dataclass(slots=True)
class Taken:
    """What an export took in each round, and the most that its command and the node had in memory."""

    passed_s: list[float] = field(default_factory=list)
    command_s: list[float] = field(default_factory=list)
    node_s: list[float] = field(default_factory=list)
    command_mib: list[float] = field(default_factory=list)
    node_mib: list[float] = field(default_factory=list)


async def run(bench: Bench) -> None:
    """On both databases with 10 services, on SQLite with 10,000 as well."""
    records, many = (RECORDS // 100, MANY // 100) if bench.plan.quick else (RECORDS, MANY)
    for database in DATABASES:
        await _run(bench, database, records, FEW)
    await _run(bench, DATABASES[0], records, many, (PARQUET, FOCUS))


async def _run(
    bench: Bench, database: Database, records: int, services: int, exports: Sequence[str] = tuple(EXPORTS)
) -> None:
    of = f"{records:,} records", f"{services:,} services, {LABELS[database]}"
    names = {export: f"{of[0]} {export}, {of[1]}" for export in exports}
    names = {export: name for export, name in names.items() if bench.plan.only.search(name)}
    if not names:
        return
    task = bench.progress.add_task(f"export: {of[1]}", total=1 + len(names) * bench.plan.rounds)
    async with bench.real(database, services=services) as target:
        begin_us = int(time.time()) // 60 * 60 * US_PER_S - SPAN_US
        await _populate(bench, target, records, begin_us)
        bench.progress.advance(task)
        taken = {export: Taken() for export in names}
        for _ in range(bench.plan.rounds):
            for export in names:
                await _export(target, bench.directory / "export", export, begin_us, taken[export])
                bench.progress.advance(task)
    for export, name in names.items():
        bench.figures += _figures(name, taken[export], has_goal=export == PARQUET and not bench.plan.quick)


async def _populate(bench: Bench, target: Target, records: int, begin_us: int) -> None:
    node = target.addresses[0]
    await meter_once(node)
    async with asyncio.timeout(METERED_WITHIN_S):
        while (await booked(node))[0] == 0:  # noqa: ASYNC110  # another process commits it
            await asyncio.sleep(0.1)
    _, tokens = await booked(node)
    await multiply_requests(target.metering_url, ONLY_REQUEST, target.services, records, begin_us)
    tokens += sum(map(tokens_of, range(records)))
    bench.measured[target.control].append(Result(finished_requests=1 + records, finished_tokens=tokens))


async def _export(target: Target, path: Path, export: str, begin_us: int, taken: Taken) -> None:
    begin, end = (datetime.fromtimestamp(us // US_PER_S, UTC) for us in (begin_us, begin_us + SPAN_US))
    command, *options = EXPORTS[export]
    span = ("--month", f"{end:%Y-%m}") if export == FOCUS else ("--since", f"{begin:%FT%T}", "--until", f"{end:%FT%T}")
    at = {"TALLYGATE_CONTROL_ADDRESS": target.control, "TALLYGATE_METERING_ADDRESSES": target.addresses[0]}
    before_s, began_s = processor_s(target.pids[0]), time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.used", sys.executable, "-m", "tallygate.cli"),
        *("usage", command, ACCOUNT, *options, *span, "--out", str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **at},
    )
    out, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the export {export} failed: {errors.decode()[-500:]}")
    used = json.loads(out)
    taken.passed_s.append(time.perf_counter() - began_s)
    taken.command_s.append(used["processor_s"])
    taken.command_mib.append(used["memory_kib"] / KIB)
    taken.node_s.append(processor_s(target.pids[0]) - before_s)
    taken.node_mib.append(peak_bytes(target.pids[0]) / MIB)


def _figures(name: str, taken: Taken, *, has_goal: bool) -> list[Figure]:
    figures = [
        Figure("export", name, "s", taken.passed_s),
        Figure("export", f"{name}, processor of the command", "s", taken.command_s),
        Figure("export", f"{name}, processor of the node", "s", taken.node_s),
        Figure("export", f"{name}, memory of the command", "MiB", taken.command_mib),
        Figure("export", f"{name}, memory of the node", "MiB", taken.node_mib),
    ]
    for figure in figures:
        figure.lower_is_better = True
    if has_goal:
        passed, *_, memory, _ = figures
        passed.at_least, passed.aim = SECONDS_MAX, SECONDS_AIM
        memory.at_least, memory.aim = MEMORY_MAX_MIB, MEMORY_AIM_MIB
    return figures
