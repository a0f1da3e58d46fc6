"""The surveyor: surveys the database now and then, so that whoever asks for the numbers need not wait for them."""

import asyncio
from typing import Final

import structlog

from control_service.domain.errors import StorageUnavailableError
from control_service.usecases.survey_ports import Survey, SurveyPort
from tallygate._server.clock import Clock

SURVEY_INTERVAL_S: Final = 30.0
"""Interval of surveys, beside the time that one takes."""

_log = structlog.get_logger(__name__)


class Surveyor:
    """Keeps the last survey, and when it was made on the monotonic clock."""

    def __init__(self, database: SurveyPort, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.latest: Survey | None = None
        self.surveyed_ns = clock.monotonic_ns()

    async def run(self) -> None:
        """Surveys until cancelled."""
        while True:
            try:
                await self.survey()
            except StorageUnavailableError:
                _log.debug("survey_waits")
            except Exception:  # noqa: BLE001  # logged; what it finds is of use to watchers only
                _log.exception("survey_failed")
            await asyncio.sleep(SURVEY_INTERVAL_S)

    async def survey(self) -> None:
        """Surveys once. Raises StorageUnavailableError."""
        self.latest = await self._database.survey(self._clock.now_us())
        self.surveyed_ns = self._clock.monotonic_ns()
