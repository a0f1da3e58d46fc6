"""The last use of each token, to the day: noted apart from the calls, many at once."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from control_service.domain.access_token import day_of
from control_service.domain.credential import ResolvedCredential
from control_service.domain.errors import StorageUnavailableError
from control_service.usecases.ports import Database
from tallygate._server.clock import Clock

FLUSH_INTERVAL_S: Final = 5.0
"""Interval at which uses are written: each token's once a day."""

_log = structlog.get_logger(__name__)


class LastUses:
    """Uses that are not written yet. A process that ends forgets them; the next use of the token tells again."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._by_day: dict[int, set[str]] = {}

    def note(self, credential: ResolvedCredential) -> None:
        """Notes that a token was used, unless that is known of this day."""
        day_us = day_of(self._clock.now_us())
        if credential.access_token and (credential.last_use_day_us or -1) < day_us:
            self._by_day.setdefault(day_us, set()).add(credential.access_token.rpartition("/")[2])

    async def flush(self) -> None:
        """Writes what was noted. Raises StorageUnavailableError; what was noted stays noted then."""
        if not self._by_day:
            return
        noted, self._by_day = self._by_day, {}
        try:
            async with self._database.writing() as tx:
                for day_us, token_ids in noted.items():
                    await tx.access_tokens.note_use(token_ids, day_us)
        except BaseException:
            for day_us, token_ids in noted.items():
                self._by_day.setdefault(day_us, set()).update(token_ids)
            raise

    async def run(self) -> None:
        """Flushes every `FLUSH_INTERVAL_S`, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            try:
                await self.flush()
            except StorageUnavailableError:
                _log.debug("last_uses_wait")
            except Exception:  # noqa: BLE001  # logged; the next flush must come
                _log.exception("last_uses_failed")
