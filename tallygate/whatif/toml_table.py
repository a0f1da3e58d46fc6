"""Tables of TOML, read by names that are known: whatever else stands there is refused, with the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, TypeVar, overload

T = TypeVar("T")
NANOS = 1_000_000_000
INT64_MAX = 2**63 - 1
_NEAR = 0.5


class SettingsError(Exception):
    """Settings that cannot be used; the message is one sentence that says which file, which setting, what is wrong."""


class TomlTable:
    """One table, with its file and its path there. Each setting is taken once; `done` refuses all that is left."""

    def __init__(self, file: str, path: str, values: dict[str, Any]) -> None:
        self.file = file
        self.path = path
        self._left = dict(values)
        self._known: list[str] = []

    def text(self, name: str, default: str) -> str:
        """A text."""
        said: str = self._take(name, (str,), "a text in quotes", default)
        return said

    def flag(self, name: str) -> bool:
        """Whether something is switched on; off where nothing is said."""
        said: bool = self._take(name, (bool,), "true or false", default=False)
        return said

    @overload
    def number(self, name: str, *, most: int = INT64_MAX) -> int: ...
    @overload
    def number(self, name: str, default: T, *, most: int = INT64_MAX) -> int | T: ...
    def number(self, name: str, default: Any = ..., *, most: int = INT64_MAX) -> Any:
        """A whole number of 0 or more; it must be said where there is no default."""
        said = self._take(name, (int,), "a whole number", default)
        if said is not default and not 0 <= said <= most:
            raise self.error(name, f"must be from 0 to {most:,}")
        return said

    @overload
    def money(self, name: str) -> int: ...
    @overload
    def money(self, name: str, default: T) -> int | T: ...
    def money(self, name: str, default: Any = ...) -> Any:
        """An amount in units of the currency, in nanos: exact."""
        said = self._take(name, (int, Decimal), "an amount, as 12.50", default)
        if said is default:
            return default
        nanos = Decimal(said) * NANOS
        if not nanos.is_finite() or not 0 <= nanos <= INT64_MAX or nanos != nanos.to_integral_value():
            raise self.error(name, f"must be an amount from 0 to {INT64_MAX // NANOS:,}, with at most 9 decimals")
        return int(nanos)

    def choice(self, name: str, choices: dict[str, T], default: T) -> T:
        """One of these words."""
        word = self._take(name, (str,), "a text in quotes", "")
        if not word:
            return default
        if word not in choices:
            raise self.error(name, f"is {word!r}, and must be one of {', '.join(choices)}{_nearest(word, choices)}")
        return choices[word]

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        said = self._take(name, (list,), "a list of texts", [])
        if not all(isinstance(one, str) for one in said):
            raise self.error(name, "must be a list of texts")
        return list(said)

    def table(self, name: str) -> TomlTable | None:
        """A table within this one, if there is one."""
        said = self._take(name, (dict,), "a table", None)
        return None if said is None else TomlTable(self.file, self._path(name), said)

    def tables(self, name: str) -> Iterator[TomlTable]:
        """The tables of an array of them."""
        said = self._take(name, (list,), f"tables, each of which begins with [[{self._path(name)}]]", [])
        for index, one in enumerate(said, start=1):
            if not isinstance(one, dict):
                raise self.error(name, f"must be tables, each of which begins with [[{self._path(name)}]]")
            yield TomlTable(self.file, f"{self._path(name)}[{index}]", one)

    def named_tables(self, name: str) -> Iterator[tuple[str, TomlTable]]:
        """The tables of a table, by names that somebody chose."""
        said = self._take(name, (dict,), "a table", {})
        for key, one in said.items():
            if not isinstance(one, dict):
                raise self.error(f"{name}.{key}", "must be a table")
            yield key, TomlTable(self.file, f"{self._path(name)}.{key}", one)

    def done(self) -> None:
        """Raises SettingsError where anything stands here that was not taken."""
        for name in self._left:
            where = f"in [{self.path}]" if self.path else "outside of all tables"
            near = _nearest(name, self._known)
            known = "" if near else f"; there are {', '.join(self._known)}"
            raise SettingsError(f'{self.file}: there is no setting "{name}" {where}{near}{known}')

    def error(self, name: str, problem: str) -> SettingsError:
        """The error for one setting of this table."""
        return SettingsError(f"{self.file}: {self._path(name)} {problem}")

    def _path(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _take(self, name: str, kinds: tuple[type, ...], what: str, default: Any = ...) -> Any:
        self._known.append(name)
        said = self._left.pop(name, ...)
        if said is ...:
            if default is ...:
                raise self.error(name, "is missing")
            return default
        if not isinstance(said, kinds) or (isinstance(said, bool) and bool not in kinds):
            raise self.error(name, f"must be {what}")
        return said


def _nearest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=_NEAR)
    return f'; did you mean "{near[0]}"?' if near else ""
