"""The console of a command: results go to stdout, everything else to stderr."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

import typer
from google.protobuf.message import Message
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from typing_extensions import override

_WIDTH = 100_000
"""Width of output to a file or a pipe, which has none of its own: whatever reads it finds each row on one line."""

# Only from where spaces begin, or each space of a long fill within a line would be looked from.
_FILL = re.compile("(?<! ) +\n")
_KEPT = "\n"
_BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


def visible(text: str, *, kept: str = "") -> str:
    """The text with what would steer a terminal, break its line or turn it around written out as Python writes it."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if one in kept or not _is_hidden(one) else ascii(one)[1:-1] for one in text)


def literal(text: str, style: str = "") -> Text:
    """A text of somebody else: shown as it is, brackets and all, but for what is not `visible`."""
    return Text(visible(text), style=style)


def _is_hidden(one: str) -> bool:
    return one in _BIDI_CONTROLS or unicodedata.category(one) in _HIDDEN_CATEGORIES


class _Console(Console):
    """Writes no control characters but its own, whatever the printed string has; and no spaces at the ends of lines."""

    @override
    def print(self, *objects: Any, **options: Any) -> None:
        """Print, without what fills the lines of tables where no terminal is: whatever reads them would find it."""
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as written:
            super().print(*objects, **options)
        try:
            self.file.write(_FILL.sub("\n", written.get()))
            self.file.flush()
        except BrokenPipeError:
            self.on_broken_pipe()

    @override
    def render_str(self, text: str, **options: Any) -> Text:
        """Render a text, with characters shown that would steer a terminal."""
        return super().render_str(visible(text, kept=_KEPT), **options)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH
    return _Console(stderr=stderr, highlight=False, emoji=False, soft_wrap=True, width=width)


out = _console(stderr=False)
err = _console(stderr=True)


def print_json(message: Message) -> None:
    """A message as protobuf JSON, fields named as in the contract, zeros included."""
    from google.protobuf.json_format import MessageToJson  # noqa: PLC0415  # only where it is asked for

    text = MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    print(text)


def print_list(answer: Message, draw: Callable[[], RenderableType], *, json: bool, csv: bool) -> None:
    """A list: as JSON, as comma-separated values, or as the table that `draw` makes of it."""
    if json and csv:
        raise typer.BadParameter("give --json or --csv, not both")
    if csv:
        from tallygate.cli.csv_lists import print_csv  # noqa: PLC0415  # only where it is asked for

        print_csv(answer)
    elif json:
        print_json(answer)
    else:
        out.print(draw())


def facts(*rows: tuple[str, str | Text]) -> Table:
    """Names and values below each other; rows without a value are left out. A string is taken literally."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows:
        if value:
            table.add_row(name, literal(value) if isinstance(value, str) else value)
    return table
