"""Commands that are imported when they are used."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from tallygate.cli.app import app
from tallygate.cli.command_table import PLACES
from tallygate.cli.on_demand import load


@pytest.mark.parametrize("name", PLACES)
def test_the_table_says_what_the_command_says_of_itself(name: str) -> None:
    """The list of commands is written from the table."""
    assert load(name).get_short_help_str(limit=300) == PLACES[name].help


@pytest.mark.parametrize("name", PLACES)
def test_what_may_be_left_out_or_repeated_is_said_once(name: str) -> None:
    """Typer brackets optional arguments by itself, and writes dots behind those that may be several."""
    command = load(name)
    for one in getattr(command, "commands", {name: command}).values():
        usage = one.get_usage(typer.Context(one))
        assert not re.search(r"\[\[|\.\.\.[\]}]", usage), usage


def test_help_lists_every_command() -> None:
    """With its sentence."""
    shown = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).stdout.split())
    for name, place in PLACES.items():
        assert name in shown
        assert place.help in shown


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (["--help"], ["grpc", "tallygate.cli.rpc", "cryptography", "pydantic", "rich"]),
        (["service", "show", "acme/chat", "--control", "nowhere"], ["pydantic", "google.protobuf.json_format"]),
        (["service", "show", "--help"], ["tallygate._wire.failures", "google.rpc", "rich.live", "tomllib"]),
        (["service", "list", "--status", "running", "--control", "nowhere"], ["pydantic"]),
        (["account", "--help"], ["cryptography", "tallygate.client", "tallygate.replay", "tallygate.cli.models"]),
        (["control", "serve", "--help"], ["grpc", "google.protobuf"]),
    ],
)
def test_what_a_command_does_not_need_is_not_imported(arguments: list[str], unused: list[str]) -> None:
    """Most of the time of a command that makes one call was that of the imports of all others."""
    program = f"""
import os, sys
def leave(*_):
    pass
os.execv = leave
from tallygate.cli.app import app
try:
    app({arguments!r})
except SystemExit:
    pass
print([name for name in {unused!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_nearest_command_is_named() -> None:
    """Also of those that nobody has used yet."""
    said = CliRunner().invoke(app, ["acount", "list"])
    assert said.exit_code != 0
    assert "account" in said.output


def test_a_shell_completes_commands() -> None:
    """The names at first, then those of the command that was typed."""
    variables = {"_TALLYGATE_COMPLETE": "complete_bash", "COMP_WORDS": "tallygate acc", "COMP_CWORD": "1"}
    said = CliRunner().invoke(app, [], env=variables, prog_name="tallygate")
    assert said.stdout.split() == ["account"]
    variables = {"_TALLYGATE_COMPLETE": "complete_bash", "COMP_WORDS": "tallygate account cre", "COMP_CWORD": "2"}
    said = CliRunner().invoke(app, [], env=variables, prog_name="tallygate")
    assert "create" in said.stdout.split()
    assert isinstance(app, typer.Typer)
