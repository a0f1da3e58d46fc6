"""What nobody will ask for again is deleted, in small parts. Events and the ledger are books, and stay.

A closed lease is deleted only once its node has said that all leases of that epoch are settled: a statement on a lease
that is not known would count as news, and what was consumed on it would be booked twice. Time alone never makes that
safe. On top of that it stays for as long as people, and whoever compares the books, may want to look at it.
"""

from __future__ import annotations

from typing import Final

import structlog

from control_service.usecases.ports import Database
from tallygate._server.clock import Clock, SteadyWallClock

DAY_US: Final = 86_400_000_000

CLOSED_LEASES_KEPT_US: Final = 7 * DAY_US
"""As long as metering keeps the ids of requests, whose consumption they show."""

ANSWERS_KEPT_US: Final = 7 * DAY_US
"""The contract promises so much to whoever repeats a call with its idempotency key."""

PERIOD_NS: Final = 60_000_000_000
PART: Final = 500
"""No transaction deletes more, so that none keeps others waiting."""

_log = structlog.get_logger(__name__)


class Purge:
    """Any number of processes may purge one database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._wall = SteadyWallClock(clock)
        self._next_ns = clock.monotonic_ns()

    async def tick(self) -> None:
        """Deletes one part of what is old, once a minute; at once again as long as there is more.

        Raises:
            StorageUnavailableError: the database fails.
        """
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._next_ns:
            return
        now_us = self._wall.now_us()
        async with self._database.writing() as tx:
            leases = await tx.leases.delete_settled(now_us - CLOSED_LEASES_KEPT_US, PART)
        async with self._database.writing() as tx:
            answers = await tx.answers.delete(now_us - ANSWERS_KEPT_US, PART)
        if leases or answers:
            _log.info("purged", closed_leases=leases, idempotency_answers=answers)
        if max(leases, answers) < PART:
            self._next_ns = now_ns + PERIOD_NS
