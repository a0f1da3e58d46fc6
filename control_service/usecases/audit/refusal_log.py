"""Refusals on their way from memory to the audit log, outside of any call."""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from control_service.domain.audit_entry import entry_of_refusal
from control_service.domain.errors import StorageUnavailableError
from control_service.usecases.ports import Database
from tallygate._access.refusals import RefusalCounts

INTERVAL_S: Final = 1.0
"""Interval between two times of writing: as much is lost where the process dies."""
BATCH_SIZE: Final = 500
"""Maximum number of entries that one transaction writes."""
BATCHES_MAX: Final = 30
"""Maximum number of transactions at a time; whatever is left waits for the next time."""

_log = structlog.get_logger(__name__)


class RefusalLog:
    """Writes down what one process refused."""

    def __init__(self, database: Database, counts: RefusalCounts, writer: str) -> None:
        """`writer`: stands for this process and no other."""
        self._database = database
        self._counts = counts
        self._writer = writer

    async def run(self) -> None:
        """Writes every `INTERVAL_S` until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(INTERVAL_S)
                try:
                    await self.write()
                except StorageUnavailableError:
                    _log.debug("refusals_wait")
                except Exception:  # noqa: BLE001  # logged; the next time must come
                    _log.exception("refusals_failed")
        finally:
            with suppress(StorageUnavailableError):
                await self.write()

    async def write(self) -> None:
        """Writes the counts that have grown. Raises StorageUnavailableError; they wait for the next time then."""
        for _ in range(BATCHES_MAX):
            batch = self._counts.untold(BATCH_SIZE)
            if not batch:
                return
            async with self._database.writing() as tx:
                await tx.audit.count([entry_of_refusal(calls, self._writer) for calls in batch])
            self._counts.tell(batch)
