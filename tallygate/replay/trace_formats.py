"""The formats of public traces, each as what it makes of a line. Which one a file has, its first line says.

- Azure 2023 and 2024: CSV with times of the day, `2023-11-16 18:17:03.9799600,4808,10`.
- BurstGPT: CSV with seconds since some moment; its releases differ in columns, which are found by their names.
- Mooncake: JSON lines with milliseconds since the beginning.
- Bailian: JSON lines with seconds since the beginning, told from Mooncake's by `chat_id`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

from tallygate.replay.trace_file import LineError

TOKENS_MAX = 1_000_000_000
"""Maximum of tokens of one request, of each class."""

AZURE_HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
FORMATS = f"{AZURE_HEADER} (Azure), a header with Timestamp and Request tokens (BurstGPT), or JSON (Mooncake, Bailian)"

_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)?")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,30})?")  # no exponents: 1e999999999 would have a billion digits
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime.fromtimestamp(0, UTC)
_US_PER_SECOND = 1_000_000
_US_PER_MS = 1_000
_OFFSET_US_MAX = 10**16
"""Maximum offset in microseconds: three centuries."""


class Parsed(NamedTuple):
    """What one line says. `source`: the model or kind of request that it names; empty where it names none."""

    time_us: int
    context_tokens: int
    generated_tokens: int
    source: str = ""


Parse: TypeAlias = Callable[[str], Parsed]
"""From a line to what it says; raises LineError."""


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """A format as a file has it. `has_header`: whether the first line is none of the requests.

    `has_wall_clock`: whether times are those of the day, and not since some moment.
    """

    parse: Parse
    has_header: bool
    has_wall_clock: bool = False


def format_of(first_line: str) -> TraceFormat | None:
    """The format of a file that begins with this line; None for none of those known."""
    if first_line == AZURE_HEADER:
        return TraceFormat(_parse_azure, has_header=True, has_wall_clock=True)
    if first_line.startswith("{"):
        seconds = '"chat_id"' in first_line
        return TraceFormat(_json_parser(_US_PER_SECOND if seconds else _US_PER_MS), has_header=False)
    columns = first_line.split(",")
    if {"Timestamp", "Request tokens", "Response tokens"} <= set(columns):
        return TraceFormat(_burst_parser(columns), has_header=True)
    return None


def _parse_azure(line: str) -> Parsed:
    fields = _fields(line, AZURE_HEADER.split(","))
    return Parsed(_moment_us(fields[0]), _tokens("ContextTokens", fields[1]), _tokens("GeneratedTokens", fields[2]))


def _burst_parser(columns: list[str]) -> Parse:
    time, request, response = map(columns.index, ("Timestamp", "Request tokens", "Response tokens"))
    model = columns.index("Model") if "Model" in columns else None

    def parse(line: str) -> Parsed:
        fields = _fields(line, columns)
        return Parsed(
            _offset_us("Timestamp", fields[time], _US_PER_SECOND),
            _tokens("Request tokens", fields[request]),
            _tokens("Response tokens", fields[response]),
            "" if model is None else fields[model],
        )

    return parse


def _json_parser(us_per_unit: int) -> Parse:
    def parse(line: str) -> Parsed:
        try:
            said: Any = json.loads(line, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            raise LineError("is not a JSON object") from error
        if not isinstance(said, dict):
            raise LineError("is not a JSON object")
        kind = said.get("type", "")
        return Parsed(
            _offset_us("timestamp", _member(said, "timestamp"), us_per_unit),
            _tokens("input_length", _member(said, "input_length")),
            _tokens("output_length", _member(said, "output_length")),
            kind if isinstance(kind, str) else "",
        )

    return parse


def _fields(line: str, columns: list[str]) -> list[str]:
    try:
        (fields,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError) as error:
        raise LineError("is not a line of CSV") from error
    if len(fields) != len(columns):
        raise LineError(f"has {len(fields)} fields instead of {','.join(columns)}")
    return fields


def _member(said: dict[str, Any], name: str) -> str:
    """A number as it is written: of JSON's other values none looks like one."""
    if name not in said:
        raise LineError(f"has no {name}")
    value = said[name]
    return str(value) if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else json.dumps(str(value))


def _moment_us(text: str) -> int:
    match = _TIMESTAMP.fullmatch(text)
    try:
        whole = datetime.fromisoformat(match[1]).replace(tzinfo=UTC) if match is not None else None
    except ValueError:
        whole = None
    if match is None or whole is None:
        example = "2023-11-16 18:17:03.9799600"
        raise LineError(f"has the TIMESTAMP {text!r}, which is not a time like {example}")
    return (whole - _EPOCH) // _MICROSECOND + int((match[2] or "0").ljust(6, "0")[:6])


def _offset_us(name: str, text: str, us_per_unit: int) -> int:
    """A time in units since some moment, rounded down to microseconds."""
    offset_us = int(Decimal(text) * us_per_unit) if _NUMBER.fullmatch(text) else -1
    if not 0 <= offset_us <= _OFFSET_US_MAX:
        raise LineError(f"has the {name} {text}, which is not a number of 0 or more")
    return offset_us


def _tokens(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(TOKENS_MAX)) or int(text) > TOKENS_MAX:
        raise LineError(f"has {name} {text!r}, which is not a whole number 0 to {TOKENS_MAX}")
    return int(text)
