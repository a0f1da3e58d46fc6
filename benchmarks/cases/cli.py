"""The command line: how long a command takes that makes one call or none, beside what Python and gRPC take to start."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

from benchmarks.accounts import ACCOUNT, SERVICE, set_up
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.processor import children_s
from benchmarks.targets import database_url, serve

COMMAND: Final = (sys.executable, "-m", "tallygate.cli")
GRPC: Final = "import grpc"
SECONDS_MAX, SECONDS_AIM = 0.35, 0.25
TIMES_EACH: Final = 5
"""Number of runs of each program in a round."""


async def run(bench: Bench) -> None:
    """Programs in turn, with a control service that has nothing else to do."""
    async with AsyncExitStack() as stack:
        url = await database_url(stack, bench.directory, "sqlite", bench.postgres, "control")
        control = await serve(stack, bench.directory, "control", ("--database-url", url))
        await set_up(control.address)
        programs = _programs(control.address)
        chosen = {name: each for name, each in programs.items() if bench.plan.only.search(name)}
        passed_s, used_s = await _measured(bench, chosen)
    for name in chosen:
        figure = Figure("cli", name, "s", passed_s[name], lower_is_better=True)
        if name.startswith("tallygate"):
            figure.at_least, figure.aim = SECONDS_MAX, SECONDS_AIM
        bench.figures += [figure, Figure("cli", f"{name}, processor", "s", used_s[name], lower_is_better=True)]


def _programs(control: str) -> Mapping[str, tuple[Sequence[str], int]]:
    """What is started, by its name in the table, with the exit status that it should have."""
    there = ("--control", control)
    return {
        "python, which does nothing": ((sys.executable, "-c", "pass"), 0),
        f"python, {GRPC}": ((sys.executable, "-c", GRPC), 0),
        "tallygate --help": ((*COMMAND, "--help"), 0),
        "tallygate service show": ((*COMMAND, "service", "show", SERVICE, *there), 0),
        "tallygate service show, of none": ((*COMMAND, "service", "show", f"{ACCOUNT}/services/none", *there), 1),
    }


async def _measured(
    bench: Bench, programs: Mapping[str, tuple[Sequence[str], int]]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds by the clock and of processor, of each run. Raises RuntimeError where one does not end as it should."""
    passed_s: dict[str, list[float]] = {name: [] for name in programs}
    used_s: dict[str, list[float]] = {name: [] for name in programs}
    runs = bench.plan.rounds * TIMES_EACH
    task = bench.progress.add_task("cli", total=runs * len(programs))
    for _ in range(runs):
        for name, (command, status) in programs.items():
            began_s, used_before_s = time.perf_counter(), children_s()
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
            passed_s[name].append(time.perf_counter() - began_s)
            used_s[name].append(children_s() - used_before_s)
            if done.returncode != status:
                raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-500:]}")
            bench.progress.advance(task)
    return passed_s, used_s
