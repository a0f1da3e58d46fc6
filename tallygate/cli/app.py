"""The command line, whose commands are those of the table."""

from __future__ import annotations

import sys

import typer

from tallygate._settings_file import adopt_settings_file
from tallygate.cli.on_demand import CommandsOnDemand
from tallygate.cli.security import security_options

app = typer.Typer(
    cls=CommandsOnDemand,
    help="Token metering and admission control for LLM inference fleets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.callback()(security_options)


def main() -> None:
    """Entry point of `tallygate`. A mistake in the settings file ends it with status 2, after a sentence."""
    try:
        adopt_settings_file()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    app()
