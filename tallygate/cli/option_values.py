"""Values of options and arguments, without the library that typer checks them by where they need no check.

typer converts each value by pydantic, whose import takes more than a third of a command that makes one call, and whose
words for mistakes are for programmers. Texts, whole numbers, choices, and what goes to a function of this folder are
converted here; the rest is left to typer.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, get_args, get_origin

import typer

_LEFT_TO_TYPER: Final = object()


def convert_here(parameter: Any) -> Any:
    """The parameter of a command, which from now on converts its simple values without pydantic."""
    of_typer = getattr(parameter, "get_runtime_param", None)
    if of_typer is not None and "get_runtime_param" not in vars(parameter):  # else another typer, or done already
        conversion = _Conversion(parameter.type_descriptor, of_typer)
        parameter.get_runtime_param = lambda: conversion
    return parameter


class _Conversion:
    """What typer asks for the value of a parameter, by its own word for that: `coerce`."""

    def __init__(self, kind: Any, of_typer: Any) -> None:
        self._of_typer = of_typer
        self._info = kind.parameter_info
        self._is_list = get_origin(kind.annotation) is list
        self._kind = get_args(kind.annotation)[0] if self._is_list else kind.annotation

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None:
            return () if self._is_list else None
        found = [self._one(each) for each in (value if self._is_list and not isinstance(value, str) else [value])]
        if _LEFT_TO_TYPER in found:
            return self._of_typer().coerce(value, param=param, ctx=ctx)
        return found if self._is_list else found[0]

    def _one(self, value: Any) -> Any:
        if self._info.parser is not None:
            return self._info.parser(value)
        if self._kind is str and isinstance(value, str):
            return value
        if self._kind is int and not isinstance(value, bool):
            return self._number(value)
        if isinstance(self._kind, type) and issubclass(self._kind, Enum):
            return _member(self._kind, value)
        return _LEFT_TO_TYPER

    def _number(self, value: Any) -> int:
        try:
            number = int(value)
        except ValueError as error:
            raise typer.BadParameter(f"{value!r} is no whole number") from error
        low, high = self._info.min, self._info.max
        if low is not None and number < low:
            raise typer.BadParameter(f"{number} is too low: the least is {low}")
        if high is not None and number > high:
            raise typer.BadParameter(f"{number} is too high: the most is {high}")
        return number


def _member(kind: type[Enum], value: Any) -> Enum:
    """What is meant: answers and the contract write NOT_ENABLED where options write not-enabled."""
    for one in kind:
        if value is one or _plain(one.value) == _plain(value):
            return one
    raise typer.BadParameter(f"{value!r} is not one of {', '.join(str(one.value) for one in kind)}")


def _plain(value: object) -> str:
    return str(value).lower().replace("_", "-")
