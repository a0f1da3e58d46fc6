"""Where a command writes: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

_WIDTH = 120
"""Where output goes to a file or a pipe, which has no width of its own."""

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True, width=None if sys.stderr.isatty() else _WIDTH)


def print_json(message: Message) -> None:
    """A message as protobuf JSON, fields named as in the contract, zeros included."""
    text = MessageToJson(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    print(text)


def facts(*rows: tuple[str, str]) -> Table:
    """Names and values below each other; rows without a value are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows:
        if value:
            table.add_row(name, value)
    return table
