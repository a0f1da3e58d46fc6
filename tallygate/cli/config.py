"""`tallygate config`: which settings hold, and what said each of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Annotated, Final

import typer

from tallygate._setting_names import SETTING_NAMES
from tallygate._settings_file import FILE_VARIABLE, PREFIX, read_settings_file
from tallygate.cli.console import err, literal, out
from tallygate.cli.contexts import ContextError, current_context
from tallygate.cli.rpc import fail
from tallygate.cli.show_access import table

app = typer.Typer(help="Settings of services, middleware and this command.", no_args_is_help=True)

_SECRET: Final = "TALLYGATE_TOKEN"  # noqa: S105  # a name
_PASSWORD: Final = re.compile(r"(?<=://)([^:/@]*):.*@")
_PASSWORD_PARAMETER: Final = re.compile(r"(?<=[?&])((?:ssl)?password)=[^&]*")
_HIDDEN: Final = "(hidden)"


@app.command()
def show(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object for each setting.")] = False,
) -> None:
    """Shows each setting that something says, its value, and whether a variable, the file or the context says it.

    An option of a command or a service goes before all of them. Secrets are not shown.
    """
    try:
        said = [*_said(os.environ), *_of_context(os.environ)]
    except ValueError as error:  # the file's mistakes, and those of contexts
        fail(str(error))
    if as_json:
        print(json.dumps([{"setting": name, "value": value, "from": origin} for name, value, origin in said], indent=2))
        return
    out.print(table(("setting", "value", "from"), said))
    if not said:
        err.print(literal(f"Nothing is set; {FILE_VARIABLE} would name a file, and docs/settings.md has the names."))


def _said(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Settings of the environment and the file: each with its name in the file, its value, and what says it."""
    file, path = read_settings_file(environment), environment.get(FILE_VARIABLE, "")
    rows = []
    for name in sorted(SETTING_NAMES & (environment.keys() | file.keys())):
        value = environment.get(name, file.get(name, ""))
        # What the file says was added to the environment when this command started.
        is_files = file.get(name) == value
        origin = path if is_files else f"{name}, before {path}" if name in file else name
        rows.append((name.removeprefix(PREFIX).lower(), _shown(name, value), origin))
    return rows


def _of_context(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """What the current context says, for commands alone, where nothing else does."""
    try:
        name, context = current_context(environment)
    except ContextError as error:
        raise ValueError(str(error)) from error
    values = {
        "control_address": context.control,
        "metering_addresses": context.nodes,
        "ca": context.ca_file,
        "cert": context.cert_file,
        "key": context.key_file,
    }
    return [
        (setting, value, f"context {name}")
        for setting, value in values.items()
        if value and PREFIX + setting.upper() not in environment
    ]


def _shown(name: str, value: str) -> str:
    if name == _SECRET:
        return _HIDDEN
    return _PASSWORD_PARAMETER.sub(rf"\1={_HIDDEN}", _PASSWORD.sub(rf"\1:{_HIDDEN}@", value))
