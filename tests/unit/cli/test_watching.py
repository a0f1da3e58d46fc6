"""What is drawn again and again."""

from __future__ import annotations

import io
import itertools
import time

import pytest
import typer
from rich.console import Console

from tallygate.cli import watching
from tallygate.control.v1 import operations_service_pb2 as pb


def test_it_is_read_and_drawn_until_the_user_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its place on the terminal; Ctrl-C is no error."""
    screen = io.StringIO()
    waits = itertools.count(1)

    def wait(_seconds: float) -> None:
        if next(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        watching,
        "out",
        Console(file=screen, force_terminal=True, highlight=False, width=40, _environ={"TERM": "xterm"}),
    )
    monkeypatch.setattr(time, "sleep", wait)
    numbers = itertools.count(1)
    watching.print_or_watch(
        pb.ListNodesResponse, lambda _found: f"reading {next(numbers)}", watched=True, json=False, csv=False
    )
    assert [f"reading {number}" in screen.getvalue() for number in (1, 2, 3, 4)] == [True, True, True, False]


def test_a_terminal_and_a_table_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is not drawn on, and programs read once."""
    monkeypatch.setattr(watching, "out", Console(file=io.StringIO()))
    with pytest.raises(typer.Exit):
        watching.watch(lambda: "")
    with pytest.raises(typer.BadParameter, match="leave out"):
        watching.print_or_watch(pb.ListNodesResponse, lambda _found: "", watched=True, json=True)
