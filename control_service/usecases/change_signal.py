"""Notifies listeners in this process of changes in the database; other processes poll."""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from control_service.domain.pot import PotKey


class Listener:
    """The changes that one waiter has not received yet."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._came_back: set[PotKey] = set()

    def notify(self, came_back: Collection[PotKey]) -> None:
        """Wakes the waiter, and adds these pots to those that its next `wait` returns."""
        self._came_back.update(came_back)
        self._changed.set()

    def wake(self) -> None:
        """Wakes the waiter, though this process has committed nothing."""
        self._changed.set()

    async def wait(self) -> frozenset[PotKey]:
        """Waits until woken; returns the pots that got something back since the last call."""
        await self._changed.wait()
        self._changed.clear()
        came_back = frozenset(self._came_back)
        self._came_back.clear()
        return came_back


class ChangeSignal:
    """Fans commits that may matter to others out to the listeners of this process."""

    def __init__(self) -> None:
        self._listeners: dict[Listener, None] = {}
        self.commit_count = 0
        """Number of commits that were announced."""

    def announce(self, came_back: Collection[PotKey] = ()) -> None:
        """Notifies all listeners of a commit; `came_back` are the pots that have more to grant than before."""
        self.commit_count += 1
        for listener in self._listeners:
            listener.notify(came_back)

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """A listener that is notified of every commit while the block runs."""
        listener = Listener()
        self._listeners[listener] = None
        try:
            yield listener
        finally:
            del self._listeners[listener]
