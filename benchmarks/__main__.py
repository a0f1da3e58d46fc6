"""`make bench`: python -m benchmarks --help."""

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import report
from benchmarks.bench import Bench, Plan
from benchmarks.builds import Build, older
from benchmarks.cases import (
    access,
    ceiling,
    cli,
    client,
    console,
    control,
    durable,
    envoy,
    export,
    gateway,
    growth,
    idle,
    keys,
    latency,
    leases,
    limits,
    peers,
    proxy,
    rates,
    scale,
    scrape,
    stream,
    unary,
    what_if,
)
from benchmarks.targets import Postgres

CASES: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "ceiling": ceiling.run,
    "stream": stream.run,
    "unary": unary.run,
    "durable": durable.run,
    "latency": latency.run,
    "growth": growth.run,
    "scale": scale.run,
    "scrape": scrape.run,
    "leases": leases.run,
    "control": control.run,
    "client": client.run,
    "cli": cli.run,
    "peers": peers.run,
    "proxy": proxy.run,
    "access": access.run,
    "keys": keys.run,
    "limits": limits.run,
    "rates": rates.run,
    "idle": idle.run,
    "console": console.run,
    "envoy": envoy.run,
    "gateway": gateway.run,
    "what-if": what_if.run,
    "export": export.run,
}

WIDTH = 120
"""Of the table where there is no terminal to fit into."""


async def measure(options: argparse.Namespace, terminal: Console) -> Bench:
    """The whole run; whatever it started is gone at its end."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tallygate-bench-")))
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        progress = stack.enter_context(Progress(*columns, console=terminal))
        plan = Plan(options.rounds, options.seconds, options.quick, re.compile(options.only))
        bench = Bench(plan, directory, Postgres(stack), progress, options.against)
        for name, case in CASES.items():
            if name in options.cases or name == "ceiling":
                await _run(bench, name, case)
        return bench


async def _run(bench: Bench, name: str, case: Callable[[Bench], Awaitable[None]]) -> None:
    """A case that fails makes the run invalid, and does not take the others' figures along."""
    try:
        await case(bench)
    except (RuntimeError, TimeoutError, AssertionError, OSError, grpc.aio.AioRpcError) as error:
        bench.progress.console.print_exception()
        bench.failed.append(f"The case {name} failed: {str(error) or type(error).__name__}")


async def until_told(options: argparse.Namespace, terminal: Console) -> Bench:
    """As `measure`; a signal ends it as Ctrl-C does, so that nothing is left running."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await measure(options, terminal)


def _older(checkout: str) -> Build:
    try:
        return older(Path(checkout))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _show(bench: Bench) -> None:
    terminal = Console()
    if not terminal.is_terminal:
        terminal.width = WIDTH
    terminal.print(report.as_table(bench))
    for note in report.notes(bench.remarks, bench.figures):
        terminal.print(note, markup=False, highlight=False)


def main() -> int:
    """0 if the run can be trusted, whether or not its goals are reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="which; the ceiling always")
    parser.add_argument("--rounds", type=int, default=0, help="3, or 1 with --quick")
    parser.add_argument("--seconds", type=float, default=0.0, help="of each measurement: 2, or 0.5 with --quick")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that everything works")
    parser.add_argument("--only", default="", metavar="PATTERN", help="measure only what matches, and its ceiling")
    parser.add_argument("--against", type=_older, metavar="CHECKOUT", help="an older build, measured in turn with this")
    parser.add_argument("--json", action="store_true", help="figures for programs on stdout, instead of the table")
    parser.add_argument("--out", type=Path, default=Path("benchmark.json"), help="the file with all figures")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (0.5 if options.quick else 2.0)
    bench = asyncio.run(until_told(options, Console(stderr=True)))
    problems = report.problems(bench)
    figures = json.dumps(report.as_json(bench, problems), indent=2)
    options.out.write_text(figures + "\n")
    if options.json:
        print(figures)
    else:
        _show(bench)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
