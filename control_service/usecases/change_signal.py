"""Wakes whoever waits in this process for something to change in the database; other processes poll."""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from control_service.domain.budget import BudgetKey


class Listener:
    """What one waiter has not yet taken note of."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._came_back: set[BudgetKey] = set()

    def tell(self, came_back: Collection[BudgetKey]) -> None:
        """Wakes the waiter."""
        self._came_back.update(came_back)
        self._changed.set()

    async def wait(self) -> frozenset[BudgetKey]:
        """Waits for a change; returns the budgets that got something back since the last call."""
        await self._changed.wait()
        self._changed.clear()
        came_back = frozenset(self._came_back)
        self._came_back.clear()
        return came_back


class ChangeSignal:
    """Told after every commit that may matter to somebody else."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def announce(self, came_back: Collection[BudgetKey] = ()) -> None:
        """Something was committed; `came_back` are budgets that have more to give than before."""
        for listener in self._listeners:
            listener.tell(came_back)

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """A listener that hears of everything from now on."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
