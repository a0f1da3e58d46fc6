"""The table of a run as Markdown, for a page to hold: python -m benchmarks.markdown [benchmark.json]."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.report import HEAD, RIGHT, cells, notes

GIB = 2**30


def as_markdown(run: Mapping[str, Any]) -> str:
    """When, of what and where; the table; what else is to be said. `run`: as `report.as_json` has it."""
    figures = [Figure.from_json(each) for each in run["figures"]]
    said = [f"- {each}" for each in [*run["problems"], *notes(run["remarks"], figures)]]
    return "\n".join([_about(run), "", *_table(figures), "", *said]).rstrip() + "\n"


def _about(run: Mapping[str, Any]) -> str:
    machine = run["machine"]
    against = f" against {run['against']}" if run.get("against") else ""
    return (
        f"{run['time'][:10]}, commit {run['commit']}{against}; rounds: {run['rounds']}, of {run['seconds']:g} s; "
        f"{machine['processors']} processors, {machine['memory_bytes'] / GIB:.0f} GiB, {machine['architecture']}; "
        f"CPython {machine['python']}, grpcio {machine['grpcio']}{', compiled' if machine['compiled'] else ''}. "
        f"Goals in bold are not reached.{'' if run['valid'] else ' **This run is invalid.**'}"
    )


def _table(figures: list[Figure]) -> Iterator[str]:
    yield _line(HEAD)
    yield _line(["--:" if number in RIGHT else "---" for number in range(len(HEAD))])
    for case, of_case in groupby(figures, key=lambda figure: figure.case):
        yield _line([f"**{case}**", *[""] * (len(HEAD) - 1)])
        for figure in of_case:
            *others, goal, counts = cells(figure)
            yield _line([*others, f"**{goal}**" if figure.reached is False else goal, counts])


def _line(row: Iterable[str]) -> str:
    return f"| {' | '.join(row)} |"


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "benchmark.json")
    print(as_markdown(json.loads(path.read_text())), end="")
