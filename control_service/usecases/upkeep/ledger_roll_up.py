"""Roll-up of the ledger: usage lines of minutes become lines of hours when they are old, and those, lines of days.

Each tick moves some lines in one transaction; so wherever it is interrupted, statements are what they were, and so is
the balance.
"""

from typing import Final

import structlog

from control_service.domain.kept_days import USUAL, KeptDays
from control_service.domain.ledger_span import DAY_US, HOUR_US, KEPT_FINER_US, LedgerSpan, spans
from control_service.usecases.ports import Database
from tallygate._server.clock import Clock, SteadyWallClock

PERIOD_NS: Final = 600_000_000_000
"""Interval between two looks at whether another day has become old."""

BATCH_SIZE: Final = 250
"""Maximum number of lines that one transaction adds up, so that no other transaction waits long for it."""

_log = structlog.get_logger(__name__)


class LedgerRollUp:
    """Adds up what is old. Any number of processes may do so with one database."""

    def __init__(self, database: Database, clock: Clock, kept: KeptDays = USUAL) -> None:
        self._database = database
        self._clock = clock
        self._kept_us = {**KEPT_FINER_US, HOUR_US: kept.minutes * DAY_US}
        self._wall = SteadyWallClock(clock)
        self._next_ns = clock.monotonic_ns() + PERIOD_NS
        self._done_us = dict.fromkeys(self._kept_us, 0)
        self._spans: list[LedgerSpan] = []
        self._place = ("", "")
        self._end_us = self._done_us

    @property
    def is_due(self) -> bool:
        """Whether a tick would look for lines to add up."""
        return bool(self._spans) or self._clock.monotonic_ns() >= self._next_ns

    async def tick(self) -> None:
        """Adds up one part of what is due.

        Raises:
            StorageUnavailableError: the database fails.
        """
        if not self.is_due:
            return
        if not self._spans:
            self._spans = await self._due()
            self._next_ns = self._clock.monotonic_ns() + PERIOD_NS
            return
        span = self._spans[0]
        async with self._database.writing() as tx:
            place = await tx.ledger.roll_up(span, self._place, BATCH_SIZE)
        self._place = place or ("", "")
        if place is None:
            del self._spans[0]
            _log.info("ledger_rolled_up", step_us=span.step_us, before_us=span.end_us)
        if not self._spans:
            self._done_us = self._end_us

    async def _due(self) -> list[LedgerSpan]:
        """The longest steps first: what is due to become a day needs not become hours."""
        async with self._database.reading() as tx:
            first_us = await tx.accounts.first_create_us()
        if first_us is None:
            return []
        now_us = self._wall.now_us()
        self._end_us = {step_us: (now_us - kept_us) // DAY_US * DAY_US for step_us, kept_us in self._kept_us.items()}
        start_us = first_us // DAY_US * DAY_US
        found: list[LedgerSpan] = []
        for step_us, end_us in sorted(self._end_us.items(), reverse=True):
            found += spans(step_us, max(self._done_us[step_us], start_us), end_us)
            start_us = max(start_us, end_us)
        return found
