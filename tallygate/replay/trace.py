"""Traces: the times of requests, their lengths, and how much they generated.

The file format is that of the Azure LLM inference traces: a header, then one request a line, as in
`2023-11-16 18:17:03.9799600,4808,10`.
"""

from __future__ import annotations

import contextlib
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
TOKENS_MAX = 1_000_000_000

_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?")
_FIELDS = 3
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime.fromtimestamp(0, UTC)


class TraceError(Exception):
    """A trace that cannot be read; the message is one sentence that says which file, which line, and what is wrong."""


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One request: when it came, after the first one, and its token counts."""

    index: int
    offset_us: int
    context_tokens: int
    generated_tokens: int


@dataclass(slots=True)
class Trace:
    """All requests of a trace, in three arrays of integers so that a long one stays small."""

    offsets_us: array[int] = field(default_factory=lambda: array("q"))
    context_tokens: array[int] = field(default_factory=lambda: array("q"))
    generated_tokens: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.offsets_us)

    def append(self, offset_us: int, context_tokens: int, generated_tokens: int) -> None:
        """Adds a request."""
        self.offsets_us.append(offset_us)
        self.context_tokens.append(context_tokens)
        self.generated_tokens.append(generated_tokens)

    def rows(self, start: int = 0, step: int = 1) -> Iterator[TraceRow]:
        """Every `step`-th request from `start` on."""
        for index in range(start, len(self), step):
            yield TraceRow(index, self.offsets_us[index], self.context_tokens[index], self.generated_tokens[index])

    def part(self, start: int, stop: int) -> Trace:
        """Some of the requests, the first of which then comes at once."""
        base_us = self.offsets_us[start] if start < len(self) else 0
        return Trace(
            array("q", (offset_us - base_us for offset_us in self.offsets_us[start:stop])),
            self.context_tokens[start:stop],
            self.generated_tokens[start:stop],
        )


def read_trace(path: Path) -> Trace:
    """Reads and checks a whole trace; raises TraceError for the first thing that is wrong with it."""
    trace = Trace()
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            if next(lines, "").strip() != HEADER:
                raise TraceError(f"{path}: line 1 must be {HEADER}")
            first_us: int | None = None
            for number, line in enumerate(lines, start=2):
                time_us, context_tokens, generated_tokens = _parse(path, number, line)
                first_us = time_us if first_us is None else first_us
                trace.append(time_us - first_us, context_tokens, generated_tokens)
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}") from error
    if not len(trace):
        raise TraceError(f"{path} has a header but no requests")
    return trace


def _parse(path: Path, number: int, line: str) -> tuple[int, int, int]:
    fields = line.strip().split(",")
    if len(fields) != _FIELDS:
        raise TraceError(f"{path}: line {number} has {len(fields)} fields instead of {HEADER}")
    return (
        _time_us(path, number, fields[0]),
        _tokens(path, number, "ContextTokens", fields[1]),
        _tokens(path, number, "GeneratedTokens", fields[2]),
    )


def _time_us(path: Path, number: int, text: str) -> int:
    match = _TIMESTAMP.fullmatch(text)
    whole = None
    if match is not None:
        with contextlib.suppress(ValueError):
            whole = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    if match is None or whole is None:
        example = "2023-11-16 18:17:03.9799600"
        raise TraceError(f"{path}: line {number} has the TIMESTAMP {text!r}, which is not a time like {example}")
    return (whole - _EPOCH) // _MICROSECOND + int((match[2] or "0").ljust(6, "0")[:6])


def _tokens(path: Path, number: int, column: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > TOKENS_MAX:
        raise TraceError(f"{path}: line {number} has {column} {text!r}, which is not a whole number 0 to {TOKENS_MAX}")
    return int(text)
