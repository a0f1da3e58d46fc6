"""The rate at which one stream may have unknown keys and models looked up, so that guessing is slow."""

from typing import Final

SECOND_NS: Final = 1_000_000_000


class LookUpRate:
    """Look-ups that are left: as many as one second's at once, and refilled at that rate."""

    __slots__ = ("_full_ns", "_interval_ns")

    def __init__(self, per_second: int) -> None:
        self._interval_ns = SECOND_NS // per_second
        self._full_ns = 0
        """When all of a second's are left again."""

    def take(self, now_ns: int, count: int = 1) -> bool:
        """So many more look-ups; False, and none is taken, where they are too many."""
        full_ns = max(self._full_ns, now_ns) + count * self._interval_ns
        if full_ns - now_ns > SECOND_NS:
            return False
        self._full_ns = full_ns
        return True

    def give_back(self) -> None:
        """One was of something that there is: whoever shows real keys is not slowed down."""
        self._full_ns -= self._interval_ns
