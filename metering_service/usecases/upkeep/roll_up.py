"""Roll-up: sums of minutes become sums of hours when they are old, and those of hours become sums of days.

What is about to be rolled up is said first, in the database: nobody takes the sum of an hour for that of its first
minute. Each step of the walk moves some rows in one transaction, so wherever it is interrupted, every sum of whole
hours and days is what it was.
"""

import asyncio
from typing import Final

import structlog

from metering_service.domain.errors import StorageUnavailableError
from metering_service.domain.resolution import DAY_US, KEPT_FINER_US
from metering_service.domain.stamp import HOUR_US
from metering_service.usecases.ports import RollUpSpan, RollUpStore
from tallygate._server.clock import Clock, SteadyWallClock

STEP_S: Final = 0.1
"""Pause between two steps of the walk."""
PERIOD_S: Final = 600.0
"""Interval between two looks at whether another day has become old."""

_log = structlog.get_logger(__name__)


class RollUp:
    """Any number of nodes may roll up one database."""

    def __init__(self, store: RollUpStore, clock: Clock, minutes_kept_us: int = KEPT_FINER_US[HOUR_US]) -> None:
        """`minutes_kept_us`: for how long usage is kept by minute."""
        self._store = store
        self._kept_us = {**KEPT_FINER_US, HOUR_US: minutes_kept_us}
        self._wall = SteadyWallClock(clock)
        self._spans: list[RollUpSpan] = []
        self._place = ""

    async def run(self) -> None:
        """Roll up what becomes old, until cancelled. What the database cannot do now is done later."""
        more = False
        while True:
            await asyncio.sleep(STEP_S if more else PERIOD_S)
            try:
                more = await self.step()
            except StorageUnavailableError as error:
                _log.warning("roll_up_waits", problem=str(error))
                more = False

    async def step(self) -> bool:
        """Roll up one part; whether there is more to do now. Raises StorageUnavailableError."""
        if not self._spans:
            self._spans = [span for span in await self._begin() if span.start_us < span.end_us]
            return bool(self._spans)
        span = self._spans[0]
        place = await self._store.roll_up(span, self._place)
        self._place = place or ""
        if place is None:
            await self._store.end_roll_up(span)
            del self._spans[0]
            _log.info("rolled_up", step_us=span.step_us, before_us=span.end_us)
        return bool(self._spans)

    async def _begin(self) -> list[RollUpSpan]:
        """The longest steps first: what is due to become a day needs not become hours."""
        now_us = self._wall.now_us()
        return [
            await self._store.begin_roll_up(step_us, (now_us - kept_us) // DAY_US * DAY_US)
            for step_us, kept_us in sorted(self._kept_us.items(), reverse=True)
        ]
