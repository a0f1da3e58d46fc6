"""The outcomes of a what-if in a terminal: a row for each thing to be said, a column for each of the settings."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tallygate.cli.console import literal
from tallygate.cli.what_if_rows import account_rows, names_of, service_rows
from tallygate.whatif.outcome import Outcome


def comparison(outcomes: Sequence[Outcome]) -> Table:
    """All outcomes side by side."""
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="bold")
    table.add_column("")
    for outcome in outcomes:
        table.add_column(literal(outcome.settings), justify="right")
    for title, cells in account_rows(outcomes):
        table.add_row(Text(title), *(literal(cell, "bold") for cell in cells))
    for name in names_of(outcomes):
        table.add_section()
        table.add_row(literal(name, "bold cyan"))
        for title, cells in service_rows(outcomes, name):
            table.add_row(literal(title, "dim"), *map(literal, cells))
    return table
