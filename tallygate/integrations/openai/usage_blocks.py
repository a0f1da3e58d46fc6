"""Reading a usage block by the table of dialects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from tallygate.client import Usage
from tallygate.integrations.openai.usage_dialects import DIALECTS, Dialect

COUNT_MAX: Final = 100_000_000
"""Maximum of tokens of one class in a report: a server that reports more is not believed."""
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}(?:\.0{0,9})?", re.ASCII)
_TEXT_SHOWN_MAX = 40

_Path = tuple[str, ...]


class _RefusedError(ValueError):
    """A count that cannot be."""


class _Column(NamedTuple):
    """Where one count may stand: the fields with which its places begin, and each place as a sum of paths."""

    fields: frozenset[str]
    places: tuple[tuple[_Path, ...], ...]


class _Row(NamedTuple):
    """A dialect, its places taken apart."""

    dialect: Dialect
    input: _Column
    output: _Column
    cached: _Column
    written: _Column
    reasoning: _Column
    total: _Column


def read_block(block: Mapping[str, object]) -> tuple[Usage | None, str]:
    """The usage of a block, and what is wrong with it, empty if nothing is.

    Of the dialects whose input the block has, the first that finds any tokens holds; else of those whose output it
    has. A block that has its total alone counts as input, as of reranking.
    """
    problems: list[str] = []
    zero: Usage | None = None
    try:
        for row in _applicable(block):
            usage = _Reading(row, block, problems).usage()
            if usage.total_tokens:
                return usage, problems[0] if problems else ""
            zero = zero or usage
        if zero is None and (total := _greatest(block, _TOTAL)) is not None:
            zero = Usage(_class_tokens("total_tokens", total))
    except _RefusedError as error:
        return None, str(error)
    return zero, problems[0] if problems else ""


def has_bare_usage(answer: Mapping[str, object]) -> bool:
    """Whether the counts stand in the answer itself, with no block around them."""
    return any(_is_said(answer, row.input) or _is_said(answer, row.output) for row in _ROWS if row.dialect.is_answer)


def follow(value: object, path: _Path) -> object:
    """What stands at the end of a path, None if there is nothing; digits are an index into a list."""
    for name in path:
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal():
            value = value[int(name)] if int(name) < len(value) else None
        else:
            return None
    return value


class _Reading:
    """One block, read by one dialect."""

    def __init__(self, row: _Row, block: Mapping[str, object], problems: list[str]) -> None:
        self._dialect = row.dialect
        self._problems = problems
        self._total = self._lenient(block, row.total)
        self._input = _greatest(block, row.input)
        self._output = _greatest(block, row.output)
        # What comes on top is as much a part of a class's total as what it is on top of.
        if row.dialect.cache_is_beside:
            self._cached, self._written = _greatest(block, row.cached) or 0, _greatest(block, row.written) or 0
        else:
            self._cached, self._written = self._lenient(block, row.cached) or 0, self._lenient(block, row.written) or 0
        if row.dialect.reasoning_is_beside:
            self._reasoning = _greatest(block, row.reasoning) or 0
        else:
            self._reasoning = self._lenient(block, row.reasoning) or 0

    def usage(self) -> Usage:
        """The usage, in disjoint kinds.

        Raises:
            _RefusedError: A class has more tokens than can be.
        """
        went_in, came_out = self._bare_classes()
        if self._cache_is_beside(went_in, came_out):
            went_in += self._cached + self._written
        came_out, reasoning = self._with_reasoning(went_in, came_out)
        _class_tokens("the input", went_in)
        _class_tokens("the output", came_out)
        cached = min(self._cached, went_in)
        written = min(self._written, went_in - cached)
        reasoning = min(reasoning, came_out)
        return Usage(went_in - cached - written, cached, written, came_out - reasoning, reasoning)

    def _bare_classes(self) -> tuple[int, int]:
        """Input and output as they are said; the one of which nothing is said, from the total."""
        went_in, came_out, total = self._input, self._output, self._total
        if total is None:
            return went_in or 0, came_out or 0
        if went_in is None:
            return max(0, total - (came_out or 0)), came_out or 0
        if came_out is None:
            return (went_in, max(0, total - went_in)) if went_in else (total, 0)
        return went_in, came_out

    def _cache_is_beside(self, went_in: int, came_out: int) -> bool:
        if self._dialect.cache_is_beside:
            return True
        cache = self._cached + self._written
        remainder = 0 if self._total is None else self._total - went_in - came_out
        if remainder <= 0 or remainder == self._reasoning:
            return False
        return cache > 0 and remainder in {cache, cache + self._reasoning}

    def _with_reasoning(self, went_in: int, came_out: int) -> tuple[int, int]:
        """The output class and its reasoning, once the input class is known."""
        reasoning = self._reasoning
        if self._total is None or self._total < went_in + came_out:
            # A part cannot be greater than the whole.
            is_beside = self._dialect.reasoning_is_beside or reasoning > came_out
            return came_out + reasoning if is_beside else came_out, reasoning
        remainder = self._total - went_in - came_out
        if remainder == 0:
            return came_out, reasoning
        if reasoning:
            is_beside = remainder == reasoning or self._dialect.reasoning_is_beside or reasoning > came_out
            return came_out + reasoning if is_beside else came_out, reasoning
        # What the total has and nothing else explains was thought. A block without input is only half of one.
        return (came_out + remainder, remainder) if went_in else (came_out, 0)

    def _lenient(self, block: Mapping[str, object], column: _Column) -> int | None:
        """A count without which the others still hold."""
        try:
            return _greatest(block, column)
        except _RefusedError as error:
            self._problems.append(str(error))
            return None


def _applicable(block: Mapping[str, object]) -> Iterable[_Row]:
    """The dialects in which a block may be written."""
    rest = []
    for row in _ROWS:
        if _is_said(block, row.input):
            if _has_marks(row.dialect, block):
                yield row
        elif _is_said(block, row.output) and _has_marks(row.dialect, block):
            rest.append(row)
    yield from rest


def _has_marks(dialect: Dialect, block: Mapping[str, object]) -> bool:
    marks, unless = dialect.marks, dialect.unless
    if marks and all(block.get(mark) is None for mark in marks):
        return False
    return not unless or all(block.get(name) is None for name in unless)


def _is_said(block: Mapping[str, object], column: _Column) -> bool:
    if column.fields.isdisjoint(block):
        return False
    return any(_value(block, path) is not None for place in column.places for path in place)


def _greatest(block: Mapping[str, object], column: _Column) -> int | None:
    """The greatest count in a column's places; None where they have none.

    Raises:
        _RefusedError: One of them has a number that cannot be.
    """
    if column.fields.isdisjoint(block):
        return None
    greatest = None
    for place in column.places:
        said = None
        for path in place:
            value = _value(block, path)
            if value is not None:
                said = (said or 0) + _count(path, value)
        if said is not None and (greatest is None or said > greatest):
            greatest = said
    return greatest


def _value(block: Mapping[str, object], path: _Path) -> object:
    value = block.get(path[0])
    if len(path) == 1 or value is None:
        return value
    last = path[-1]
    if last == "*":
        return value if isinstance(value, Mapping) else None
    if last == "#":
        return len(value) if isinstance(value, list) and value else None
    return value.get(last) if isinstance(value, Mapping) else None


def _count(path: _Path, value: object) -> int:
    """A count as servers write it: a whole number, be it written as a float or a text.

    Raises:
        _RefusedError: It is none, or less or more than can be.
    """
    if type(value) is int:
        count = value
    elif path[-1] == "*" and isinstance(value, Mapping):
        return sum(_count((*path[:-1], str(name)), item) for name, item in value.items() if item is not None)
    elif (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value)
    ):
        count = int(float(value))
    else:
        raise _RefusedError(f"{'.'.join(path)} is {_shown(value)}")
    if not 0 <= count <= COUNT_MAX:
        raise _RefusedError(f"{'.'.join(path)} is {_shown(value)}")
    return count


def _class_tokens(what: str, tokens: int) -> int:
    if tokens > COUNT_MAX:
        raise _RefusedError(f"{what} is {tokens}")
    return tokens


def _shown(value: object) -> str:
    """A value for a sentence: short, on one line."""
    if isinstance(value, int) and not isinstance(value, bool):
        # Python does not write out the longest ones.
        return str(value) if abs(value) < 1 << 64 else "too long a number"
    if value is None or isinstance(value, (bool, float)):
        return str(value)
    return ascii(value[:_TEXT_SHOWN_MAX]) if isinstance(value, str) else f"of type {type(value).__name__}"


def _column(places: Iterable[str]) -> _Column:
    paths = tuple(tuple(tuple(path.split(".")) for path in place.split("+")) for place in places)
    return _Column(frozenset(path[0] for place in paths for path in place), paths)


def _row(dialect: Dialect) -> _Row:
    columns = (dialect.input, dialect.output, dialect.cached, dialect.written, dialect.reasoning, dialect.total)
    return _Row(dialect, *map(_column, columns))


_ROWS = tuple(map(_row, DIALECTS))
_TOTAL = _column(("total_tokens",))
