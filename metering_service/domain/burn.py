"""The burn of a lease: units that requests take of it a second, net of what they give back."""

from collections import deque
from typing import Final

WINDOW_NS: Final = 10_000_000_000
"""Time over which the burn is the mean; less while a load is younger."""
MARK_INTERVAL_NS: Final = 1_000_000_000
"""Minimum between two marks, and minimum age of a load for its burn to be known."""


class Burn:
    """What is used of a lease, held or booked, at some moments of the window."""

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque()

    def begin(self, used_units: int, at_ns: int) -> None:
        """A load begins, after a rest; so much was used before it."""
        self._marks.clear()
        self._marks.append((at_ns, used_units))

    def end(self) -> None:
        """Nothing burns any more."""
        self._marks.clear()

    def mark(self, used_units: int, now_ns: int) -> None:
        """Note what is used now, by a load that has begun."""
        marks = self._marks
        if marks and now_ns - marks[-1][0] >= MARK_INTERVAL_NS:
            marks.append((now_ns, used_units))
        while len(marks) > 1 and now_ns - marks[1][0] >= WINDOW_NS:
            marks.popleft()

    def is_known(self, now_ns: int) -> bool:
        """Whether the load is old enough to tell; before that a first hold looks as if it were used up at once."""
        return bool(self._marks) and now_ns - self._marks[0][0] >= MARK_INTERVAL_NS

    def units_per_s(self, used_units: int, now_ns: int) -> int:
        """The mean of the window; never negative, and of a load of less than a second what it took."""
        if not self._marks:
            return 0
        at_ns, before_units = self._marks[0]
        elapsed_ns = max(MARK_INTERVAL_NS, now_ns - at_ns)
        return max(0, used_units - before_units) * 1_000_000_000 // elapsed_ns
