"""Looks for the seed that finds each planted bug: python -m tests.simulation.mutants --help."""

import argparse
import json
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.simulation import (
    mutations_columns,
    mutations_commits,
    mutations_control,
    mutations_credentials,
    mutations_estimates,
    mutations_groups,
    mutations_keys,
    mutations_limits,
    mutations_metering,
    mutations_pause,
    mutations_rates,
    mutations_teams,
    mutations_whole,
)
from tests.simulation.planting import MUTATIONS, OF_CALM, OF_KEYS, OF_LIMITS, OF_PROOFS
from tests.simulation.run import Outcome, simulate
from tests.simulation.workers import run_each

FOUND = Path(__file__).with_name("found.json")
"""The seed that finds each of them soonest in simulated time, as the last search had it."""
MODULES = (
    mutations_columns,
    mutations_commits,
    mutations_control,
    mutations_credentials,
    mutations_estimates,
    mutations_groups,
    mutations_keys,
    mutations_limits,
    mutations_metering,
    mutations_pause,
    mutations_rates,
    mutations_teams,
    mutations_whole,
)


def main() -> int:
    """0 if each planted bug was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to try for each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many processes try them")
    parser.add_argument("--only", nargs="*", default=sorted(MUTATIONS), help="names of those to look for")
    options = parser.parse_args()
    found: dict[str, int] = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    console, table = Console(), Table("planted bug", "found by seed", "as", title="Planted bugs")
    with Progress() as progress:
        task = progress.add_task("planted bugs", total=len(options.only))
        asked = [(name, options.seeds) for name in options.only]
        for name, outcome in run_each(_search, asked, jobs=options.jobs, per_process=10):
            progress.advance(task)
            found.pop(name, None)
            if outcome is None:
                table.add_row(name, "[red]none[/]", f"not in {options.seeds} seeds")
                continue
            found[name] = outcome.seed
            FOUND.write_text(json.dumps(dict(sorted(found.items())), indent=2) + "\n")
            table.add_row(name, str(outcome.seed), (outcome.problem or "")[:90])
    console.print(table)
    return 0 if set(options.only) <= set(found) else 1


def plant(name: str, seed: int) -> Outcome:
    """Run a seed with one bug planted, in a storm, where things meet that seldom do, or outside of storms."""
    with MUTATIONS[name]():
        storm, proofs = name not in OF_CALM, name in OF_PROOFS
        return simulate(seed, storm=storm, proofs=proofs, limited=name in OF_LIMITS, keyed=name in OF_KEYS)


def _search(asked: tuple[str, int]) -> tuple[str, Outcome | None]:
    name, seeds = asked
    outcomes = (plant(name, seed) for seed in range(1, seeds + 1))
    return name, next((outcome for outcome in outcomes if outcome.problem is not None), None)


if __name__ == "__main__":
    sys.exit(main())
