"""Runs many seeds, or one with its trace: python -m tests.simulation --help."""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.simulation.run import Outcome, simulate
from tests.simulation.workers import run_each


def main() -> int:
    """0 if nothing that must always be true was ever false."""
    options = _options()
    if options.seed is not None:
        tail = 10**6 if options.trace else None
        outcome = simulate(
            options.seed,
            tail=tail,
            replicas=options.replicas,
            storm=options.storm,
            proofs=options.proofs,
            limited=options.limits,
            keyed=options.keys,
        )
        _explain(Console(), outcome)
        return 0 if outcome.problem is None else 1
    began_s = time.monotonic()
    outcomes = list(_run_all(options))
    seconds = time.monotonic() - began_s
    failed = [outcome for outcome in outcomes if outcome.problem is not None]
    struck: Counter[str] = sum((Counter(outcome.struck) for outcome in outcomes), Counter())
    if options.json:
        figures: dict[str, Any] = {
            "seeds": len(outcomes),
            "failed": {str(outcome.seed): outcome.problem for outcome in failed},
            "seconds": round(seconds, 1),
            **_requests(outcomes),
            "tokens": sum(outcome.tokens for outcome in outcomes),
            "struck": dict(sorted(struck.items())),
        }
        print(json.dumps(figures, indent=2))  # noqa: T201  # a program that talks to people and to programs
    else:
        _tell(Console(), outcomes, failed, struck, seconds)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes run them")
    parser.add_argument("--seed", type=int, help="run this one alone, and show how it ended")
    parser.add_argument("--replicas", type=int, help="how many control replicas; otherwise as each seed has it")
    parser.add_argument("--storm", action="store_true", help="with faults without a break")
    parser.add_argument("--proofs", action="store_true", default=None, help="have servers prove who they are in all")
    parser.add_argument("--limits", action="store_true", default=None, help="give accounts budgets in all")
    parser.add_argument("--keys", action="store_true", default=None, help="have end users show API keys in all")
    parser.add_argument("--trace", action="store_true", help="with --seed: show all of its trace")
    parser.add_argument("--json", action="store_true", help="figures for programs")
    return parser.parse_args()


def _run_all(options: argparse.Namespace) -> Iterator[Outcome]:
    seeds = range(options.first, options.first + options.seeds)
    run = partial(
        simulate,
        replicas=options.replicas,
        storm=options.storm,
        proofs=options.proofs,
        limited=options.limits,
        keyed=options.keys,
    )
    with _progress(options) as step:
        for outcome in run_each(run, seeds, jobs=options.jobs, per_process=20):
            step(outcome)
            yield outcome


@contextmanager
def _progress(options: argparse.Namespace) -> Iterator[Any]:
    with Progress(console=Console(stderr=True), disable=options.json) as progress:
        task = progress.add_task("seeds", total=options.seeds)

        def step(outcome: Outcome) -> None:
            progress.advance(task)
            if outcome.problem is not None and not options.json:
                progress.console.print(f"[red]seed {outcome.seed}[/]: {outcome.problem}", highlight=False)

        yield step


def _tell(
    console: Console, outcomes: list[Outcome], failed: list[Outcome], struck: Counter[str], seconds: float
) -> None:
    table = Table("what went wrong", "times", title="Faults")
    for fault, count in sorted(struck.items()):
        table.add_row(fault, f"{count:,}")
    console.print(table)
    requests, tokens = _requests(outcomes), sum(each.tokens for each in outcomes)
    console.print(
        f"{len(outcomes):,} seeds, {requests['requests']:,} requests, {tokens:,} tokens in {seconds:,.0f} s:"
        f" {len(failed)} violations."
    )
    console.print(
        f"{requests['begun']:,} of {requests['asked']:,} that asked have begun; {requests['finished']:,} have finished."
    )
    sizes = sum((Counter(each.group_sizes) for each in outcomes), Counter[int]())
    console.print(
        f"{sizes.total():,} transactions for exchanges of leases, {sizes.total() - sizes[1]:,} of them for several,"
        f" {max(sizes, default=0)} at most."
    )
    for outcome in failed[:3]:
        _explain(console, outcome)


def _requests(outcomes: list[Outcome]) -> dict[str, int]:
    """How many there were, and how far they came."""
    counts = ("requests", "asked", "begun", "finished")
    return {count: sum(getattr(outcome, count) for outcome in outcomes) for count in counts}


def _explain(console: Console, outcome: Outcome) -> None:
    for line in outcome.tail:
        console.print(line, highlight=False, markup=False)
    console.print(
        f"seed {outcome.seed}, trace {outcome.trace_hash}: {outcome.problem or 'nothing was wrong'}", markup=False
    )
    if outcome.problem is not None:
        options = " STORM=1" * outcome.storm + " PROOFS=1" * outcome.proofs
        console.print(f"The same again: make simulate SEED={outcome.seed}{options}")


if __name__ == "__main__":
    sys.exit(main())
