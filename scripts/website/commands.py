"""Pages of the command line: one for each command of the table, in the words of its own help."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import typer
from typer.cli import get_docs_for_click

from scripts.website.stage import toctree
from tallygate.cli.command_table import PLACES
from tallygate.cli.on_demand import load

SERVICES: Final = {"control": "control_service", "metering": "metering_service"}
"""Commands whose options are those of a program, each with its module."""
_SHORTENED: Final = re.compile(r"^\*\*Commands\*\*:\n\n(?:\* .*\n)+\n", re.MULTILINE)
_TITLE: Final = re.compile(r"^(#+) `(.+)`$", re.MULTILINE)
_HELP: Final = "* `--help`: Show this message and exit.\n"


def command_pages() -> Iterator[tuple[str, str]]:
    """Path and text of each page, the list of all commands first."""
    rows = "".join(f"| [`tallygate {name}`]({name}.md) | {place.help} |\n" for name, place in PLACES.items())
    head = "# Commands\n\nEvery command, with the words of its `--help`.\n\n| command | what it does |\n|---|---|\n"
    yield "index.md", head + rows + toctree(PLACES)
    for name in PLACES:
        yield f"{name}.md", _page(name)


def _page(name: str) -> str:
    command = load(name)
    said = get_docs_for_click(obj=command, ctx=typer.Context(command), name=f"tallygate {name}")
    text = _TITLE.sub(r"\1 \2", _SHORTENED.sub("", said)).replace(_HELP, "").replace("**Options**:\n\n\n", "")
    return text + (_options(SERVICES[name]) if name in SERVICES else "")


def _options(module: str) -> str:
    """What a program says of its own options."""
    said = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        env=os.environ | {"COLUMNS": "88"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return f"```\n{said}```\n"
