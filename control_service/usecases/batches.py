"""Many things in parts: a database takes only so many parameters at once."""

from collections.abc import Collection, Iterator
from itertools import islice
from typing import TypeVar

Value = TypeVar("Value")


def in_parts(values: Collection[Value], size: int = 1_000) -> Iterator[list[Value]]:
    """The values in their order, at most `size` at a time."""
    rest = iter(values)
    while part := list(islice(rest, size)):
        yield part
