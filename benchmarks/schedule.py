"""Calls on schedule: each caller takes the next moment at which a call is due, and waits for it."""

import asyncio
import time


class Schedule:
    """So many turns a second; with a rate of 0 it is always the caller's turn."""

    def __init__(self, rate: float) -> None:
        self._interval_s = 1 / rate if rate else 0.0
        self._due_s = time.perf_counter()

    async def turn(self) -> float:
        """Wait for the next turn; when it was due, though it is later now."""
        if not self._interval_s:
            return time.perf_counter()
        due_s = self._due_s
        self._due_s += self._interval_s
        wait_s = due_s - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        return due_s
