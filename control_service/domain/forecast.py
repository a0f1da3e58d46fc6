"""When what is left will be used up, if spending goes on as it has: from exact counts alone, and never a guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PACE_US_MIN: Final = 3_600 * 10**6
"""Minimum time over which a pace is measured: a few requests of one minute are none."""

AHEAD_US_MAX: Final = 3_660 * 86_400 * 10**6
"""Maximum time ahead of which a forecast speaks."""


@dataclass(frozen=True, slots=True)
class Pace:
    """So many units were spent since a moment, until another one."""

    spent_units: int
    since_us: int
    now_us: int

    @property
    def is_measured(self) -> bool:
        """Whether anything was spent, over a time that is long enough."""
        return self.spent_units > 0 and self.now_us - self.since_us >= PACE_US_MIN

    def used_up_us(self, left_units: int) -> int | None:
        """When so much is used up at this pace, rounded up; None where nothing is left, or nothing tells when."""
        if not self.is_measured or left_units <= 0:
            return None
        ahead_us = -(-left_units * (self.now_us - self.since_us) // self.spent_units)
        return self.now_us + ahead_us if ahead_us <= AHEAD_US_MAX else None
