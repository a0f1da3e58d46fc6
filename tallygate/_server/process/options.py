"""A program's options. Each can be said by the environment, too, and `--help` says by which variable."""

import argparse
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Never

from typing_extensions import override

from tallygate._server.errors import ConfigurationError
from tallygate._settings_file import with_settings_file


def environment_of(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with what the settings file says of what it leaves out. Raises ConfigurationError."""
    try:
        return with_settings_file(environment)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


class Options:
    """What is said as an option goes before what the environment says."""

    def __init__(self, program: str, description: str, environment: Mapping[str, str]) -> None:
        self.parser = _Parser(
            prog=program,
            description=description,
            allow_abbrev=False,
            epilog="In brackets: the variable of the environment that says the same, and what holds if neither does.",
        )
        self._environment = environment

    def add(self, option: str, variable: str, default: str | None, meaning: str, **details: Any) -> None:
        """One that has a value. `details` are what `add_argument` takes besides."""
        otherwise = f", else {default}" if default else ""
        value = self._environment.get(variable, default)
        self.parser.add_argument(option, default=value, help=f"{meaning} [{variable}{otherwise}]", **details)

    def add_switch(self, option: str, variable: str, meaning: str) -> None:
        """One that is on where it is said. Raises ConfigurationError where the variable is neither 0 nor 1."""
        value = self._environment.get(variable) or "0"
        if value not in ("0", "1"):
            raise ConfigurationError(f'{variable} is "{value}": use 1 or 0.')
        self.parser.add_argument(option, action="store_true", default=value == "1", help=f"{meaning} [{variable}=1]")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """What is said. `--help` ends the program.

        Raises:
            ConfigurationError: an option that there is not, or a value that it cannot have. No value of an option that
                there is not is repeated: it may be a password.
        """
        self.parser.add_argument(
            "--check", action="store_true", help="say what is wrong with the options and the environment, then end"
        )
        said = f"tallygate {version('tallygate')}"
        self.parser.add_argument("--version", action="version", version=said, help="print the version, then end")
        options, unknown = self.parser.parse_known_args(arguments)
        if unknown:
            name = unknown[0].partition("=")[0] if unknown[0].startswith("-") else ""
            self.parser.error(f"there is no option {name}" if name else "an argument belongs to no option")
        return options


class _Parser(argparse.ArgumentParser):
    @override
    def error(self, message: str) -> Never:
        raise ConfigurationError(f"{message[:1].upper()}{message[1:]}; {self.prog} --help shows what there is.")
