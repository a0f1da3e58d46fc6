"""Many values in batches: a database takes a limited number of parameters in one statement."""

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final, TypeVar

BATCH_SIZE: Final = 1_000
"""Maximum number of values in one statement."""

Value = TypeVar("Value")


def in_batches(values: Collection[Value], size: int = BATCH_SIZE) -> Iterator[list[Value]]:
    """The values in their order, at most `size` at a time."""
    rest = iter(values)
    while batch := list(islice(rest, size)):
        yield batch
