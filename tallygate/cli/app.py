"""The command line, whose commands are those of the table."""

from __future__ import annotations

import os
import sys
from typing import Final

import typer

from tallygate._settings_file import adopt_settings_file
from tallygate.cli.on_demand import CommandsOnDemand
from tallygate.cli.security import security_options

WIDTH: Final = 120
"""Maximum width of a line of help; a narrower terminal has narrower lines."""

app = typer.Typer(
    cls=CommandsOnDemand,
    help="Token metering and admission control for LLM inference fleets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes cut the names of variables where a terminal is narrow, and take twice the time
    context_settings={"max_content_width": WIDTH},
)
app.callback()(security_options)


def main() -> None:
    """Entry point of `tallygate`. A mistake in the settings file ends it with status 2, after a sentence."""
    try:
        adopt_settings_file()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    # A command says in a sentence what went wrong; gRPC's core would say it besides, in a form of its own.
    # What becomes a service by `serve` says what that says, such as failed handshakes.
    if "serve" not in sys.argv:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    app()
