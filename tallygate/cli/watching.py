"""Watching: a table is read and drawn anew every two seconds, in its place on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer
from google.protobuf.message import Message

from tallygate.cli.console import out, print_list
from tallygate.cli.rpc import fail

if TYPE_CHECKING:
    from rich.console import RenderableType

INTERVAL_S: Final = 2.0
"""Interval at which it is read again."""

Answer = TypeVar("Answer", bound=Message)
WatchOption = Annotated[bool, typer.Option("--watch", help="Show it anew every 2 s, until Ctrl-C.")]


def print_or_watch(
    read: Callable[[], Answer],
    draw: Callable[[Answer], RenderableType],
    *,
    watched: bool,
    json: bool,
    csv: bool = False,
) -> None:
    """Prints what `read` answers once, as `print_list` does, or draws it again and again."""
    if not watched:
        answer = read()
        print_list(answer, lambda: draw(answer), json=json, csv=csv)
    elif json or csv:
        raise typer.BadParameter("--watch draws for people; leave out --json and --csv")
    else:
        watch(lambda: draw(read()))


def watch(draw: Callable[[], RenderableType]) -> None:
    """Shows what `draw` reads, again and again until Ctrl-C. Where there is no terminal the command fails."""
    if not out.is_terminal:
        fail("--watch draws on a terminal, and this is none; leave it out, or repeat the command", 2)
    from rich.live import Live  # noqa: PLC0415  # only where it is asked for

    with suppress(KeyboardInterrupt), Live(draw(), console=out, auto_refresh=False) as live:
        while True:
            time.sleep(INTERVAL_S)
            live.update(draw(), refresh=True)
