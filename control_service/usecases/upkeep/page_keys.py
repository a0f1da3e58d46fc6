"""The keys of page tokens: read again and again from the database, and a new one entered each day.

Replicas may enter the next one at the same moment: the table keeps one of a number. Two are alive; with an older token
the list has to be begun again.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from control_service.domain.errors import StorageUnavailableError
from control_service.usecases.ports import Database
from tallygate._server.clock import Clock
from tallygate._server.page_keys import SECRET_BYTES, PageKey, PageKeys

PERIOD_S: Final = 20.0
"""Interval of reading the table: a new key is known everywhere before it signs."""
DAY_US: Final = 86_400_000_000
"""Age of the newest key at which the next one is entered."""

_log = structlog.get_logger(__name__)


class PageKeyUpkeep:
    """Keeps the keys of one server up to date. `new_secret` makes so many random bytes."""

    def __init__(self, database: Database, clock: Clock, new_secret: Callable[[int], bytes]) -> None:
        self._database = database
        self._clock = clock
        self._new_secret = new_secret
        self.keys = PageKeys()

    async def read(self) -> None:
        """Knows what is in the table, having entered a key if one is due. Raises StorageUnavailableError."""
        async with self._database.reading() as tx:
            found = await tx.page_keys.all()
        if self._is_due(found):
            number = max((key.number for key in found), default=0) + 1
            async with self._database.writing() as tx:
                await tx.page_keys.add(PageKey(number, self._clock.now_us(), self._new_secret(SECRET_BYTES)))
                await tx.page_keys.delete_below(number - 1)
                found = await tx.page_keys.all()
        self.keys.take({key.number: key.secret for key in found}, self._clock.monotonic_ns())

    async def run(self) -> None:
        """Reads the table in intervals, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            await self.try_to_read()

    async def try_to_read(self) -> None:
        """Reads the table if the database answers; while it does not, the keys that are known do."""
        try:
            await self.read()
        except StorageUnavailableError as error:
            _log.debug("page_keys_wait", problem=str(error))

    def _is_due(self, keys: Sequence[PageKey]) -> bool:
        """Whether the last key has been there for a day; one made by a clock that ran ahead stays until then."""
        last_us = max((key.create_us for key in keys), default=None)
        return last_us is None or self._clock.now_us() - last_us >= DAY_US
