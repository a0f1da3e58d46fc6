"""Outages as the log tells them: one line when something goes, one when it is back, and one a minute between."""

import time
from collections.abc import Callable
from typing import Final

import structlog

REMINDER_S: Final = 60.0
"""Interval at which the log says that something is still away."""

_log = structlog.get_logger(__name__)


class Outage:
    """Of one thing that others depend on; all who ask it say here how it went, however often they try."""

    def __init__(self, what: str, now_s: Callable[[], float] = time.monotonic) -> None:
        """`what`: as the log calls it."""
        self._what = what
        self._now_s = now_s
        self._failing: set[str] = set()
        self._codes: set[object] = set()
        self._gone_s = 0.0
        self._said_s = 0.0

    def failed(self, purpose: str, **problem: object) -> None:
        """It could not be asked for this. Of several purposes, such as reading and writing, one may fail alone.

        A `code` or `reason` that this outage has not had is told at once: what was away may be there again, and refuse.
        """
        now_s, code = self._now_s(), (problem.get("code"), problem.get("reason"))
        if not self._failing:
            self._gone_s = self._said_s = now_s
            self._codes = {code}
            _log.warning("outage_began", of=self._what, purpose=purpose, **problem)
        elif code not in self._codes or now_s - self._said_s >= REMINDER_S:
            self._codes.add(code)
            self._said_s = now_s
            _log.warning("outage_goes_on", of=self._what, gone_for_s=self._gone_for_s(now_s), **problem)
        self._failing.add(purpose)

    def answered(self, purpose: str) -> None:
        """It was asked for this, and has answered; it is back once it has for each purpose that had failed."""
        if purpose not in self._failing:
            return
        self._failing.discard(purpose)
        if not self._failing:
            _log.info("outage_over", of=self._what, gone_for_s=self._gone_for_s(self._now_s()))

    def _gone_for_s(self, now_s: float) -> float:
        return round(now_s - self._gone_s, 1)
