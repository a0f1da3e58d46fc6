"""The pace of a workload: the times at which its requests come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pace:
    """Scales a workload's time: `speed` 1 is real time, 60 an hour in a minute, None as fast as possible."""

    def __init__(self, speed: int | None, monotonic_ns: Callable[[], int]) -> None:
        self._speed = speed
        self._monotonic_ns = monotonic_ns
        self._start_ns = monotonic_ns()

    async def until(self, offset_us: int) -> None:
        """Waits until a request with this offset is due; one that is late comes at once."""
        if self._speed is None:
            return
        wait_ns = self._start_ns + offset_us * 1_000 // self._speed - self._monotonic_ns()
        if wait_ns > 0:
            await asyncio.sleep(wait_ns / 1_000_000_000)
