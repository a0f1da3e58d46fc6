"""Old usage lines of the ledger: which become one, so that statements of months stay exact in every time zone.

A statement's month begins at midnight of a zone, so around the turn of a month lines stay as fine as zones differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US

KEPT_FINER_US: Final = {HOUR_US: 90 * DAY_US, DAY_US: 400 * DAY_US}
"""Minimum time for which usage has lines of less than an hour, and than a day."""

TURN_STEP_US: Final = HOUR_US // 4
"""Length of a line's step on the first and the last day of a month: offsets of zones are multiples of it."""


@dataclass(frozen=True, slots=True)
class LedgerSpan:
    """The usage lines that become those of one step: of minutes from a start, closed, to an end, open."""

    step_us: int
    start_us: int
    end_us: int


def spans(step_us: int, start_us: int, end_us: int) -> list[LedgerSpan]:
    """What becomes lines of that step, or of a quarter of an hour at the turn of a month. The bounds: whole days."""
    days = groupby(range(start_us, end_us, DAY_US), lambda day_us: TURN_STEP_US if _is_turn(day_us) else step_us)
    found = ((step, list(of_step)) for step, of_step in days)
    return [LedgerSpan(step, of_step[0], of_step[-1] + DAY_US) for step, of_step in found]


def _is_turn(day_us: int) -> bool:
    """Whether a day of UTC is the first or the last of a month: in some zone another month begins on it."""
    day = datetime.fromtimestamp(day_us // 1_000_000, UTC)
    return day.day == 1 or (day + timedelta(days=1)).day == 1
