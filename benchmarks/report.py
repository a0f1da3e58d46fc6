"""One table and one JSON file."""

import os
import platform
import time
from collections.abc import Mapping
from typing import Any

import grpc
import psutil
from rich.table import Table

from benchmarks.bench import Bench
from benchmarks.figures import Figure

RATIO_MIN = 150.0
TEN = 10


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "processors": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "architecture": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
    }


def as_json(bench: Bench, problems: list[str]) -> Mapping[str, Any]:
    """All that was measured. `valid`: the ceiling is what it should be, and the books agree."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "rounds": bench.plan.rounds,
        "seconds": bench.plan.seconds,
        "quick": bench.plan.quick,
        "valid": not problems,
        "problems": problems,
        "remarks": bench.remarks,
        "reconciled": not bench.unreconciled,
        "figures": [figure.as_json() for figure in bench.figures],
    }


def as_table(bench: Bench) -> Table:
    """For people."""
    table = Table("what", "median", "", "spread", "ceiling", "ratio", "goal", "counts", title="Tallygate benchmarks")
    for column in table.columns:
        column.no_wrap = True
    case = ""
    for figure in bench.figures:
        if figure.case != case:
            case = figure.case
            table.add_section()
            table.add_row(f"[bold]{case}[/]")
        table.add_row(
            figure.name,
            amount(figure.value),
            figure.unit,
            f"{figure.spread:.0%}",
            amount(sorted(figure.ceiling)[len(figure.ceiling) // 2]) if figure.ceiling else "",
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            _goal(figure),
            "yes" if figure.counts else "[red]no[/]",
        )
    return table


def notes(bench: Bench) -> list[str]:
    """What else is to be said of single figures."""
    return bench.remarks + [
        f"{figure.case}, {figure.name}: {note}" for figure in bench.figures for note in figure.notes
    ]


def amount(number: float) -> str:
    """As many digits as mean something."""
    return f"{number:,.0f}" if abs(number) >= TEN else f"{number:.3g}"


def _goal(figure: Figure) -> str:
    if figure.at_least is None:
        return ""
    sign = "<" if figure.lower_is_better else ">"
    aim = "" if figure.aim is None else f", {amount(figure.aim)}"
    colour = "green" if figure.reached and figure.counts else "red"
    return f"[{colour}]{sign} {amount(figure.at_least)}{aim}[/]"


def problems(bench: Bench) -> list[str]:
    """Why this run is not to be trusted: a sentence each."""
    return bench.unreconciled + [
        f"The ceiling is only {figure.ratio:.0f} times trivial unary, less than {RATIO_MIN:.0f}."
        for figure in bench.figures
        if figure.case == "ceiling" and figure.ratio is not None and figure.ratio < RATIO_MIN
    ]
