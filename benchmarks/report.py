"""One table and one JSON file."""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import grpc
import psutil
from rich.cells import cell_len
from rich.markup import escape, render
from rich.table import Table

from benchmarks.bench import Bench
from benchmarks.builds import ROOT, commit
from benchmarks.cases.ceiling import TIMES_UNARY_MIN
from benchmarks.figures import Figure
from metering_service import IS_COMPILED

HEAD = ("what", "median", "", "requests/s", "spread", "ceiling", "ratio", "goal", "counts")
RIGHT = {1, 3, 4, 5, 6}
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
        "compiled": IS_COMPILED,
    }


def as_json(bench: Bench, problems: list[str]) -> Mapping[str, Any]:
    """All that was measured. `valid`: the ceiling is what it should be, and the books agree."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(ROOT),
        "against": bench.against.label if bench.against else "",
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
    """For people. Only the first column gives way where the terminal is narrow."""
    table = Table(HEAD[0], title=f"Tallygate benchmarks{', compiled' if IS_COMPILED else ''}")
    rows = [_row(figure) for figure in bench.figures]
    for number, name in enumerate(HEAD[1:], start=1):
        width = max(cell_len(render(row[number]).plain) for row in [HEAD, *rows])
        table.add_column(name, no_wrap=True, min_width=width, justify="right" if number in RIGHT else "left")
    case = ""
    for figure, row in zip(bench.figures, rows, strict=True):
        if figure.case != case:
            case = figure.case
            table.add_section()
            table.add_row(f"[bold]{case}[/]")
        table.add_row(*row)
    return table


def cells(figure: Figure) -> tuple[str, ...]:
    """A row of the table, by the columns of `HEAD`."""
    return (
        figure.name,
        amount(figure.value),
        figure.unit,
        amount(figure.value * figure.requests_each) if figure.requests_each else "",
        f"{figure.spread:.0%}",
        amount(median(figure.ceiling)) if figure.ceiling else "",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        _goal(figure),
        "yes" if figure.counts else "no",
    )


def _row(figure: Figure) -> tuple[str, ...]:
    name, *others, goal, counts = map(escape, cells(figure))
    colour = "green" if figure.reached else "red"
    return name, *others, f"[{colour}]{goal}[/]" if goal else "", counts if figure.counts else f"[red]{counts}[/]"


def notes(remarks: Sequence[str], figures: Sequence[Figure]) -> list[str]:
    """What else is to be said, also of single figures."""
    return [*remarks, *(f"{figure.case}, {figure.name}: {note}" for figure in figures for note in figure.notes)]


def amount(number: float) -> str:
    """As many digits as mean something."""
    return f"{number:,.0f}" if abs(number) >= TEN else f"{number:.3g}"


def _goal(figure: Figure) -> str:
    if figure.at_least is None:
        return ""
    sign = "<" if figure.lower_is_better else ">"
    aim = "" if figure.aim is None else f", {amount(figure.aim)}"
    return f"{sign} {amount(figure.at_least)}{aim}"


def problems(bench: Bench) -> list[str]:
    """Why this run is not to be trusted: a sentence each."""
    return (
        bench.failed
        + bench.unreconciled
        + [
            f"The ceiling is only {figure.ratio:.0f} times trivial unary, less than {TIMES_UNARY_MIN:.0f}."
            for figure in bench.figures
            if figure.case == "ceiling" and figure.ratio is not None and figure.ratio < TIMES_UNARY_MIN
        ]
    )
