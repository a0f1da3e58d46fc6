"""Commands that are imported when they are used: a command that makes one call does not load those of all others."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, MutableMapping
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info, get_command_name
from typer.models import CommandInfo
from typing_extensions import override

from tallygate.cli.command_table import PLACES, Place
from tallygate.cli.option_values import convert_here

_WHOLE_SENTENCE: Final = 1_000
"""Maximum length of what a list says of a command, which is its first sentence."""


class _Command(TyperCommand):
    @override
    def get_params(self, ctx: Any) -> list[Any]:
        return [convert_here(one) for one in super().get_params(ctx)]


class _Group(TyperGroup):
    @override
    def get_params(self, ctx: Any) -> list[Any]:
        return [convert_here(one) for one in super().get_params(ctx)]


class CommandsOnDemand(_Group):
    """A group whose commands are those of `PLACES`."""

    def __init__(self, **details: Any) -> None:
        super().__init__(**details)
        self.commands: MutableMapping[str, Any] = _Commands(PLACES, load)

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
    return _group(name, found) if isinstance(found, typer.Typer) else _command(CommandInfo(name, callback=found))


def _group(name: str, app: typer.Typer) -> Any:
    """A group, each of whose commands is made when it is first asked for: that takes some milliseconds each."""
    infos = {_name(info): info for info in app.registered_commands}
    group = _Group(
        name=name,
        help=app.info.help,
        short_help=app.info.help,
        no_args_is_help=app.info.no_args_is_help,
        rich_markup_mode=None,
    )
    group.commands = _Commands(infos, lambda one: _command(infos[one]))
    return group


def _name(info: CommandInfo) -> str:
    assert info.callback is not None
    return info.name or get_command_name(info.callback.__name__)


def _command(info: CommandInfo) -> Any:
    info.cls = _Command
    command: Any = get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)
    command.short_help = command.get_short_help_str(limit=_WHOLE_SENTENCE)
    return command


def _listed(name: str, place: Place) -> TyperCommand:
    return TyperCommand(name, short_help=place.help, callback=None)


class _Commands(MutableMapping[str, Any]):
    """Commands by name, each made when it is first asked for."""

    def __init__(self, names: Collection[str], make: Callable[[str], Any]) -> None:
        self._names, self._make = names, make
        self._made: dict[str, Any] = {}

    @override
    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    @override
    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    @override
    def __delitem__(self, name: str) -> None:
        del self._made[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    @override
    def __len__(self) -> int:
        return len(self._names)
