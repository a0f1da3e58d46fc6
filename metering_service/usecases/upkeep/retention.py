"""Retention: records that nobody will ask for again are deleted, in small batches. Their sums stay (see `RollUp`).

A request goes when all of its parts are booked, and have been for as long as records are kept, which is at least as
long as ids are. A server that repeats it after that hears that it is too old: its token says when it began, which was
before it was booked.

Pages of counts go when no request of their epoch runs any longer, and the epoch is over.

A key of resume tokens goes when no node has signed with it for so long: two more were made before that.

A closed lease goes when it has been closed for so long. Control had closed it before this database did, so of its two
readers none misses it: no node states a closed lease again, and a recovery books what a copy of control's database does
not know, which is what leases closed since that copy have. So control's copies must be younger than this.
"""

import asyncio
from collections import Counter
from typing import Final

import structlog

from metering_service.domain.errors import StorageUnavailableError
from metering_service.usecases.ports import PurgeStore
from metering_service.usecases.settings import NodeSettings
from tallygate._server.clock import Clock, SteadyWallClock

MARGIN_US: Final = 3_600_000_000
"""Margin by which records are kept longer, as clocks differ: what one node has deleted is too old for all others."""
PART: Final = 500
"""Maximum of leases that one transaction deletes; of requests it deletes those of one step of the walk."""
STEP_S: Final = 0.1
"""Pause between two steps of the walk."""
PERIOD_S: Final = 60.0
"""Interval between two walks."""

_log = structlog.get_logger(__name__)


class Purge:
    """Any number of nodes may purge one database."""

    def __init__(self, store: PurgeStore, clock: Clock, settings: NodeSettings, records_kept_us: int = 0) -> None:
        """`records_kept_us`: for how long records of requests are kept, if that is longer than ids are."""
        self._store = store
        self._kept_us = settings.id_retention_us + MARGIN_US
        self._records_kept_us = max(records_kept_us + MARGIN_US, self._kept_us)
        self._wall = SteadyWallClock(clock)
        self._place: int | None = 0
        self._purged: Counter[str] = Counter()

    async def run(self) -> None:
        """Delete what becomes old, until cancelled. What the database cannot do now is done later."""
        more = False
        while True:
            await asyncio.sleep(STEP_S if more else PERIOD_S)
            try:
                more = await self.step()
            except StorageUnavailableError as error:
                _log.debug("purge_waits", problem=str(error))
                more = False

    async def step(self) -> bool:
        """Look at one part of the requests, and delete what is old of it; whether there is more to do now.

        Raises StorageUnavailableError.
        """
        now_us = self._wall.now_us()
        before_us = now_us - self._kept_us
        walked = await self._store.purge_requests(now_us - self._records_kept_us, self._place or 0)
        self._place = walked.next_place
        self._purged.update(requests=walked.count)
        if self._place is not None:
            return True
        leases = await self._store.purge_leases(before_us, PART)
        self._purged.update(leases=leases)
        if leases == PART:
            return True
        self._purged.update(counts_pages=await self._store.purge_counts())
        self._purged.update(resume_keys=await self._store.purge_resume_keys(before_us))
        if self._purged.total():
            _log.info("purged", **self._purged)
        self._purged.clear()
        return False
