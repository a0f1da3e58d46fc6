"""Commands that are imported when they are used: a command that makes one call does not load those of all others."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, MutableMapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from tallygate.cli.command_table import PLACES, Place


class CommandsOnDemand(TyperGroup):
    """A group whose commands are those of `PLACES`."""

    def __init__(self, **details: Any) -> None:
        super().__init__(**details)
        self.commands: MutableMapping[str, Any] = _Commands()

    @override
    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help from the table, without importing any command."""
        loaded, self.commands = self.commands, {name: _listed(name, place) for name, place in PLACES.items()}
        try:
            super().format_help(ctx, formatter)
        finally:
            self.commands = loaded


def load(name: str) -> Any:
    """The command of that name, its module imported. Raises KeyError: there is none."""
    place = PLACES[name]
    found = getattr(importlib.import_module(f"tallygate.cli.{place.module}"), place.attribute)
    if isinstance(found, typer.Typer):
        command: Any = typer.main.get_group(found)
    else:
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(name)(found)
        command = typer.main.get_command(alone)
    command.name = name
    return command


def _listed(name: str, place: Place) -> TyperCommand:
    return TyperCommand(name, help=place.help, callback=None)


class _Commands(MutableMapping[str, Any]):
    """Commands by name, each imported when it is first asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    @override
    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = load(name)
        return self._loaded[name]

    @override
    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    @override
    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(PLACES)

    @override
    def __len__(self) -> int:
        return len(PLACES)
