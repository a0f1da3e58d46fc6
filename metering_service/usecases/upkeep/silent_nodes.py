"""Silent nodes: their rows stay as they are, poll after poll, while those that live keep committing.

Polls are counted and no clock is read: a machine that slept, or a wall clock that jumped, condemns nobody. What follows
is safe in any case, because it begins by fencing the node; it is a nuisance where the node was well.
"""

from collections.abc import Sequence
from typing import Final

from metering_service.domain.records import Registration

POLLS: Final = 5
"""Number of polls without a change after which a node counts as silent: heartbeats come once a poll or more often."""


class SilenceWatch:
    """What was seen of other nodes."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Registration, int]] = {}

    def poll(self, rows: Sequence[Registration]) -> list[Registration]:
        """Take in the rows as they are now; those that have not changed for `POLLS` polls in a row."""
        seen = {}
        for row in rows:
            before, count = self._seen.get(row.node, (None, 0))
            seen[row.node] = (row, count + 1 if before == row else 1)
        self._seen = seen
        return [row for row, count in seen.values() if count >= POLLS]

    def reset(self) -> None:
        """The database was away, and nobody could commit: begin again."""
        self._seen.clear()
