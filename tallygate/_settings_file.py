"""The settings file: what the environment may say, said once in TOML for services, middleware and command line.

`TALLYGATE_SETTINGS_FILE` names it. A setting is called as its variable, in lower case and without `TALLYGATE_`; a
variable that is set goes before the file, and an option of a command before both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

from tallygate._setting_names import SETTING_NAMES

PREFIX: Final = "TALLYGATE_"
FILE_VARIABLE: Final = "TALLYGATE_SETTINGS_FILE"


def read_settings_file(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that the file says, by their names in the environment; none where no file is named.

    Raises:
        ValueError: The file cannot be read, is no TOML, or has a setting that there is not or a value of a wrong kind.
    """
    named = environment.get(FILE_VARIABLE, "")
    if not named:
        return {}
    import tomllib  # noqa: PLC0415  # only where a file is named

    path = Path(named)
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{FILE_VARIABLE} names {path}, which cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    return {_variable(path, key): _text(path, key, value) for key, value in said.items()}


def with_settings_file(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with what the file says of what it leaves out. Raises ValueError as `read_settings_file`."""
    return {**read_settings_file(environment), **environment}


def adopt_settings_file(environment: MutableMapping[str, str] = os.environ) -> None:
    """Adds to this process's environment what the file says. Raises ValueError as `read_settings_file`."""
    for name, value in read_settings_file(environment).items():
        environment.setdefault(name, value)


def _variable(path: Path, key: str) -> str:
    name = PREFIX + key.upper()
    if key == key.lower() and name in SETTING_NAMES:
        return name
    import difflib  # noqa: PLC0415  # only where something is wrong

    known = [one.removeprefix(PREFIX).lower() for one in SETTING_NAMES]
    near = difflib.get_close_matches(key.lower().removeprefix(PREFIX.lower()), known, n=1, cutoff=0)
    raise ValueError(f'{path} has "{key}", and there is no such setting; the nearest is {near[0]}.')


def _text(path: Path, key: str, value: object) -> str:
    """The value as the environment would say it."""
    match value:
        case bool():
            return "1" if value else "0"
        case int() | str():
            return str(value)
        case list() if all(isinstance(one, str) for one in value):
            return ",".join(value)
    raise ValueError(
        f'{path}: "{key}" has a value that no setting has; write a string, a whole number, true, false, or a list of '
        "strings."
    )
