"""A program's options. Each can be said by the environment, too, and `--help` says by which variable."""

import argparse
from collections.abc import Mapping
from typing import Any

from tallygate._server.errors import ConfigurationError


class Options:
    """What is said as an option goes before what the environment says."""

    def __init__(self, program: str, description: str, environment: Mapping[str, str]) -> None:
        self.parser = argparse.ArgumentParser(
            prog=program,
            description=description,
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
