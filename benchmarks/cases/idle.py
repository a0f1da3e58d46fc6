"""Both services at rest: one service, one node, and nothing to do; the processor that takes, and what is written."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import asyncpg

from benchmarks.accounts import meter_once, set_up
from benchmarks.bench import Bench, older_name
from benchmarks.builds import THIS, Build
from benchmarks.figures import Figure
from benchmarks.processor import processor_s, written_bytes
from benchmarks.targets import DATABASES, LABELS, Database, database_url, serve
from tests.harness.programs.programs import Program

SHARE_MAX: Final = 0.01
SHARE_AIM: Final = 0.003
SETTLED_S: Final = 10.0
"""Time after the only request: until its lease is back, and what earlier epochs may have left was looked for."""
MEASURED_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Pair:
    """The two services at rest. `url`: of the server that both databases are on; empty on SQLite."""

    programs: dict[str, Program]
    url: str


@dataclass(frozen=True, slots=True)
class Rest:
    """A second of rest: seconds of processor and bytes written, by service; of PostgreSQL transactions and its log."""

    processor_s: dict[str, float]
    written_bytes: dict[str, float]
    transactions: float
    log_bytes: float
    at_s: float = 0.0


async def run(bench: Bench) -> None:
    """The pairs one after the other: together they would push each other out of the processor's caches."""
    for database in DATABASES:
        if bench.plan.only.search(f"at rest, {LABELS[database]}"):
            bench.figures += await _figures(bench, database, THIS)
            if bench.against is not None:
                bench.figures += await _figures(bench, database, bench.against)


async def _figures(bench: Bench, database: Database, build: Build) -> list[Figure]:
    rounds, quick = bench.plan.rounds, bench.plan.quick
    label = f"at rest, {LABELS[database]}" if build is THIS else older_name(f"at rest, {LABELS[database]}")
    task = bench.progress.add_task(f"idle: {label}", total=rounds)
    rests: list[Rest] = []
    async with AsyncExitStack() as stack:
        pair = await _pair(stack, bench, database, build)
        await asyncio.sleep(1.0 if quick else SETTLED_S)
        for _ in range(rounds):
            rests.append(await _rest(pair, 1.0 if quick else MEASURED_S))
            bench.progress.advance(task)
    return _told(database, label, rests)


async def _pair(stack: AsyncExitStack, bench: Bench, database: Database, build: Build) -> Pair:
    """Started, with a service that the node has heard of, since a request was metered."""
    directory = bench.directory
    control_url = await database_url(stack, directory, database, bench.postgres, "control")
    metering_url = await database_url(stack, directory, database, bench.postgres, "metering")
    control = await serve(stack, directory, "control", ("--database-url", control_url), build=build)
    await set_up(control.address)
    told = ("--control", control.address, "--database-url", metering_url)
    metering = await serve(stack, directory, "metering", told, build=build)
    await meter_once(metering.address)
    url = "" if database == "sqlite" else await bench.postgres.url()
    return Pair({"control": control, "metering": metering}, url)


async def _rest(pair: Pair, seconds: float) -> Rest:
    before = await _read(pair)
    await asyncio.sleep(seconds)
    after = await _read(pair)
    passed_s = after.at_s - before.at_s
    return Rest(
        {name: (used_s - before.processor_s[name]) / passed_s for name, used_s in after.processor_s.items()},
        {name: (count - before.written_bytes[name]) / passed_s for name, count in after.written_bytes.items()},
        (after.transactions - before.transactions) / passed_s,
        (after.log_bytes - before.log_bytes) / passed_s,
    )


async def _read(pair: Pair) -> Rest:
    """As things stand: all so far."""
    transactions, log_bytes = await _of_postgres(pair.url) if pair.url else (0.0, 0.0)
    pids = {name: program.pid for name, program in pair.programs.items()}
    return Rest(
        {name: processor_s(pid) for name, pid in pids.items()},
        {name: float(written_bytes(pid)) for name, pid in pids.items()},
        transactions,
        log_bytes,
        time.perf_counter(),
    )


async def _of_postgres(url: str) -> tuple[float, float]:
    """Transactions so far, and bytes of the write-ahead log, of the whole server."""
    connection = await asyncpg.connect(url)
    try:
        transactions = await connection.fetchval("SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database")
        log_bytes = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
    finally:
        await connection.close()
    return float(transactions), float(log_bytes)


def _told(database: Database, label: str, rests: list[Rest]) -> list[Figure]:
    figures = []
    is_goal = label == f"at rest, {LABELS[database]}"
    for service in rests[0].processor_s:
        shares = [rest.processor_s[service] for rest in rests]
        figure = Figure("idle", f"{service} {label}, processor", "share", shares, lower_is_better=True)
        if is_goal:
            figure.at_least, figure.aim = SHARE_MAX, SHARE_AIM
        figures.append(figure)
        if database == "sqlite":
            written = [rest.written_bytes[service] for rest in rests]
            figures.append(Figure("idle", f"{service} {label}, written", "bytes/s", written, lower_is_better=True))
    if database == "postgresql":
        transactions, log_bytes = [rest.transactions for rest in rests], [rest.log_bytes for rest in rests]
        figures.append(Figure("idle", f"both {label}, transactions", "1/s", transactions, lower_is_better=True))
        figures.append(Figure("idle", f"both {label}, write-ahead log", "bytes/s", log_bytes, lower_is_better=True))
    return figures
