"""The times at which things end, of which control may say another one at any moment."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

SLACK: Final = 1_000
"""Number of ends that were taken back, beyond which they are cleared away."""


class Ends(Generic[Item]):
    """What ends when, the next one first."""

    def __init__(self) -> None:
        self._end_ns: dict[Item, int] = {}
        self._heap: list[tuple[int, int, Item]] = []
        """The number in the middle keeps those of one moment in order."""
        self._number = 0

    def note(self, item: Item, end_ns: int | None) -> None:
        """It ends then, whatever was said before; None: it does not."""
        if end_ns is None:
            self._end_ns.pop(item, None)
            return
        self._end_ns[item] = end_ns
        self._number += 1
        heappush(self._heap, (end_ns, self._number, item))
        if len(self._heap) > 2 * len(self._end_ns) + SLACK:
            self._heap = [each for each in self._heap if self._end_ns.get(each[2]) == each[0]]
            heapify(self._heap)

    def take_due(self, now_ns: int) -> Iterator[Item]:
        """What has ended by now, once."""
        while self._heap and self._heap[0][0] <= now_ns:
            end_ns, _, item = heappop(self._heap)
            if self._end_ns.get(item) == end_ns:
                del self._end_ns[item]
                yield item
