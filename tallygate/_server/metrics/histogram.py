"""Numbers sorted into buckets: plain integers, for whoever counts on a busy road."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

US: Final = 1_000
MS: Final = 1_000_000
SECOND: Final = 1_000 * MS

DURATION_BOUNDS_NS: Final = (
    *(100 * US, 250 * US, 500 * US),
    *(1 * MS, 2 * MS, 5 * MS, 10 * MS, 20 * MS, 50 * MS, 100 * MS, 200 * MS, 500 * MS),
    *(1 * SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND),
)
"""Upper bounds of durations: from what a decision takes to what a database may."""
SIZE_BOUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
"""Upper bounds of numbers of things."""


class Histogram:
    """Counts of observed integers by upper bound, the last of what is above all bounds; and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[int] = DURATION_BOUNDS_NS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0

    def observe(self, number: int, times: int = 1) -> None:
        """Count it so many times in the bucket of the first bound that is not below it."""
        self.counts[bisect_left(self.bounds, number)] += times
        self.sum += number * times
