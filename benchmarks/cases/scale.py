"""One and two worker processes, beside what a second process gives the trivial server."""

import asyncio
import sys
from contextlib import AsyncExitStack

from benchmarks.bench import Bench, Variant
from benchmarks.figures import Figure
from benchmarks.targets import Database, Target, trivial_pair

CONNECTIONS = 8
"""On a shared port the system spreads connections, not streams."""
JOB = {"message_size": 256}


async def run(bench: Bench) -> None:
    """PostgreSQL, which all workers share."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(bench.trivial())
        shared, own = await stack.enter_async_context(trivial_pair(bench.directory))
        variants = [
            Variant("trivial, 1 process", one, JOB),
            Variant("trivial, 2 processes, a port each", own, JOB, "trivial, 1 process"),
            Variant("trivial, 2 processes, shared port", _often(shared), JOB, "trivial, 1 process"),
        ]
        if await _has_workers():
            database: Database = "postgresql"
            variants += [
                Variant("1 worker", await stack.enter_async_context(bench.real(database, ["--workers", "1"])), JOB),
                Variant(
                    "2 workers, shared port",
                    _often(await stack.enter_async_context(bench.real(database, ["--workers", "2"]))),
                    JOB,
                    "1 worker",
                ),
            ]
        else:
            bench.remarks.append("scale: this metering service has no --workers, so only the trivial server is here.")
        await bench.compare("scale", variants)
    _gain(bench)


def _gain(bench: Bench) -> None:
    """What two workers gain, of what two trivial processes do."""
    by_name = {figure.name: figure for figure in bench.figures if figure.case == "scale"}
    real, ceiling = by_name.get("2 workers, shared port"), by_name.get("trivial, 2 processes, shared port")
    if real is None or ceiling is None or not real.ratio or not ceiling.ratio:
        return
    gains = [two / one for two, one in zip(real.samples, real.ceiling, strict=True)]
    tops = [two / one for two, one in zip(ceiling.samples, ceiling.ceiling, strict=True)]
    bench.figures.append(Figure("scale", "gain of 2 workers", "times", gains, tops, at_least=0.85, aim=0.95))


def _often(target: Target) -> Target:
    return target.with_addresses(target.addresses[:1] * CONNECTIONS)


async def _has_workers() -> bool:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "metering_service", "--help"), stdout=asyncio.subprocess.PIPE
    )
    return b"--workers" in (await process.communicate())[0]
