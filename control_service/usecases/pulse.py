"""The pulse of the database: a replica at rest asks it whether anything was committed, and does nothing where not.

What this process commits wakes those whom it concerns at once, by `ChangeSignal`. What other processes commit is seen
here: on SQLite nothing is read until a counter in shared memory says that somebody has committed, and on PostgreSQL
each look is one small query.
"""

import asyncio
from typing import Final

from control_service.usecases.pulse_ports import Glance, PulsePort
from tallygate._server.clock import Clock

AGE_MAX_NS: Final = 1_000_000_000
"""Maximum age of a glance: even where nothing was committed, the database is read so often, to see that it can be."""


class Pulse:
    """What this replica knows of the database at rest."""

    def __init__(self, database: PulsePort, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._stamp: int | None = None
        self._glanced_ns = 0
        self._latest: Glance | None = None
        self._beat = asyncio.Event()

    @property
    def latest(self) -> Glance | None:
        """What the last look found; None before the first."""
        return self._latest

    def is_quiet(self) -> bool:
        """Whether a look would find that nothing was committed since the last one; False where only a query tells."""
        stamp = self._database.stamp()
        is_same = stamp is not None and stamp == self._stamp
        return is_same and self._clock.monotonic_ns() - self._glanced_ns < AGE_MAX_NS

    async def look(self) -> Glance:
        """What is committed by now; the same object as before where nothing was committed since.

        Raises:
            StorageUnavailableError: the database fails.
        """
        # Before the glance: what is committed during it is another stamp for the next look.
        stamp, now_ns = self._database.stamp(), self._clock.monotonic_ns()
        is_same = stamp is not None and stamp == self._stamp
        if self._latest is not None and is_same and now_ns - self._glanced_ns < AGE_MAX_NS:
            return self._latest
        glance = await self._database.glance()
        self._stamp, self._glanced_ns = stamp, now_ns
        if glance != self._latest:
            if self._latest is None or _moments(glance) != _moments(self._latest):
                self._beat.set()
            self._latest = glance
        return self._latest

    async def look_lately(self, age_max_ns: int) -> Glance:
        """As `look`; but what another look has found no longer ago than that will do, also where only a query tells.

        Raises:
            StorageUnavailableError: the database fails.
        """
        if self._latest is not None and self._clock.monotonic_ns() - self._glanced_ns < age_max_ns:
            return self._latest
        return await self.look()

    async def wait(self, seconds: float) -> None:
        """Waits until a look finds another moment at which something is due, or so long at most. One may wait."""
        try:
            async with asyncio.timeout(seconds):
                await self._beat.wait()
        except TimeoutError:
            return
        self._beat.clear()


def _moments(glance: Glance) -> tuple[int | None, bool]:
    return glance.first_due_us, glance.awaits_fleet
