"""`tallygate control serve` and `tallygate metering serve`: one service, with its own options."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

control = typer.Typer(help="The control service by itself.", no_args_is_help=True)
metering = typer.Typer(help="A metering node by itself.", no_args_is_help=True)

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@control.command("serve", context_settings=_PASS_ON, add_help_option=False)
def serve_control(context: typer.Context) -> None:
    """Runs the control service with its own options; --help shows them."""
    _serve("control_service", context.args)


@metering.command("serve", context_settings=_PASS_ON, add_help_option=False)
def serve_metering(context: typer.Context) -> None:
    """Runs a metering node with its own options; --help shows them."""
    _serve("metering_service", context.args)


def _serve(module: str, arguments: list[str]) -> NoReturn:
    """Becomes one of the services."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606  # our own program, no shell
