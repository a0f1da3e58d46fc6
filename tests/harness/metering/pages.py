"""Pages of counts by themselves, without requests."""

from collections.abc import Sequence
from typing import Any, cast

from metering_service.domain.counts_page import SLOT_MASK, CountsPage
from metering_service.domain.running_counts import RunningCounts

NOBODY: Any = None


class Pages:
    """Takes places, and writes counts there."""

    def __init__(self) -> None:
        self.running = RunningCounts()

    def take(self) -> int:
        """A place that nobody has had before."""
        slot = self.running.take(NOBODY)
        self.running.recorded_whole(slot, 1)
        return cast("int", self.running.place_of(slot))

    def give_back(self, place: int) -> None:
        self.running.give_back(place & SLOT_MASK)

    def write(self, place: int, kinds: Sequence[int]) -> None:
        self.running.write(place, kinds)

    def has(self, place: int) -> bool:
        """Whether something was written for this place."""
        return self.running._rows[(place & SLOT_MASK) * 6] == place

    def take_changed(self) -> list[CountsPage]:
        return self.running.take_changed()
