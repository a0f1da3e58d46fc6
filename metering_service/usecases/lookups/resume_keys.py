"""The keys of resume tokens, as the metering database has them: read again and again, and a new one entered each day.

Keys are the fleet's, not a node's. Nodes may enter the next one at the same moment: the table keeps one of a number.
Where the database was put back to an older copy, tokens signed with keys that are lost count as none.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from metering_service.domain.errors import StorageUnavailableError
from metering_service.domain.key_ring import KeyRing, ResumeKey
from metering_service.usecases.ports import ResumeKeyStore
from tallygate._server.clock import Clock
from tallygate._server.page_keys import PageKeys

PERIOD_S: Final = 20.0
"""Interval of reading the table: a new key is known everywhere before it signs."""
READ_AGAIN_NS: Final = 1_000_000_000
"""Minimum age of the keys at which a token with an unknown key has them read again."""
DAY_US: Final = 86_400 * 1_000_000

_log = structlog.get_logger(__name__)


class ResumeKeys:
    """Keeps one node's key ring up to date. `new_secret` makes `SECRET_BYTES` random bytes."""

    def __init__(self, store: ResumeKeyStore, clock: Clock, new_secret: Callable[[], bytes]) -> None:
        self._store = store
        self._clock = clock
        self._new_secret = new_secret
        self._read_ns = 0
        self.ring = KeyRing()
        self.page_keys = PageKeys()
        """The same keys for page tokens, whose signatures have a purpose of their own."""

    async def read(self) -> None:
        """Take in what is in the table, having entered a key if one is due. Raises StorageUnavailableError."""
        began_ns = self._clock.monotonic_ns()
        keys = await self._store.resume_keys()
        if self._is_due(keys):
            number = max((key.number for key in keys), default=0) + 1
            await self._store.add_resume_key(ResumeKey(number, self._clock.now_us(), self._new_secret()))
            keys = await self._store.resume_keys()
        self._read_ns = began_ns
        self.ring.take(keys, self._clock.monotonic_ns())
        self.page_keys.take({key.number: key.secret for key in keys}, self._clock.monotonic_ns())

    async def read_again(self) -> None:
        """Read the table if a token came whose key is unknown here, also during this. Raises StorageUnavailableError.

        Where it was read within the last second, no key that signs is missing: each has been there for longer.
        """
        while self.ring.is_lacking:
            self.ring.is_lacking = False
            if self._clock.monotonic_ns() - self._read_ns >= READ_AGAIN_NS:
                await self.read()

    async def run(self) -> None:
        """Read the table in intervals, until cancelled. While the database is away, the keys that are known do."""
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                await self.read()
            except StorageUnavailableError as error:
                _log.debug("resume_keys_wait", problem=str(error))

    def _is_due(self, keys: Sequence[ResumeKey]) -> bool:
        """Whether the last key has signed for a day; one made by a clock that ran ahead signs until then."""
        last_us = max((key.create_us for key in keys), default=None)
        return last_us is None or self._clock.now_us() - last_us >= DAY_US
