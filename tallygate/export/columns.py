"""Columns of exported tables: a name and a kind each."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import Any, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

US_PER_S = 1_000_000
_NS_PER_US = 1_000


class Kind(Enum):
    """What a column holds. Numbers are of 64 bits, times microseconds since 1970 in UTC, tags texts by key."""

    TEXT = auto()
    NUMBER = auto()
    FLAG = auto()
    TIME = auto()
    TAGS = auto()


class Column(NamedTuple):
    """One column."""

    name: str
    kind: Kind


Row = tuple[Any, ...]
"""The values of a row, in the order of its columns; None for an absent time."""


def texts(*names: str) -> Iterator[Column]:
    """Columns of texts."""
    return (Column(name, Kind.TEXT) for name in names)


def numbers(*names: str) -> Iterator[Column]:
    """Columns of numbers."""
    return (Column(name, Kind.NUMBER) for name in names)


def moment_us(time: Timestamp) -> int:
    """A moment as columns hold it."""
    return time.seconds * US_PER_S + time.nanos // _NS_PER_US
