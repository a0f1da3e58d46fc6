"""How far the reports of one stream are durable."""

from collections import deque
from collections.abc import Callable
from typing import Final

from metering_service.usecases.state.waiter import PendingCommits

PENDING_MAX: Final = 64
"""Maximum of messages that become durable one by one; while the database is away, later ones do so together."""


class DurableWatermark:
    """Messages that wait for commits, in their order. `on_advance` is called whenever the watermark has moved.

    Attributes:
        through: Number of the last report up to which everything is durable.
    """

    __slots__ = ("_on_advance", "_waiting", "through")

    def __init__(self, on_advance: Callable[[], None]) -> None:
        self.through = 0
        self._waiting: deque[tuple[int, PendingCommits]] = deque()
        self._on_advance = on_advance

    def await_message(self, last_sequence: int) -> PendingCommits:
        """What a message up to that report waits for: where many wait already, together with the last of them.

        It expects the message's own decisions, and is told by `done` that they are made.
        """
        pending = PendingCommits(self._advance) if len(self._waiting) < PENDING_MAX else self._waiting.pop()[1]
        pending.expect()
        self._waiting.append((last_sequence, pending))
        return pending

    @property
    def waiting(self) -> int:
        """Number of what waits for commits by itself, `PENDING_MAX` at most."""
        return len(self._waiting)

    def _advance(self) -> None:
        while self._waiting and self._waiting[0][1].waiting == 0:
            self.through = self._waiting.popleft()[0]
            self._on_advance()
