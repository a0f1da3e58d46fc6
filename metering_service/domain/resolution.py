"""The resolution of usage: minutes at first, hours after 90 days, days after 400. Sums of whole ones do not change.

Hours and days are those of UTC.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from metering_service.domain.stamp import HOUR_US

DAY_US: Final = 24 * HOUR_US

KEPT_FINER_US: Final = {HOUR_US: 90 * DAY_US, DAY_US: 400 * DAY_US}
"""Minimum time for which usage is kept by less than an hour, and than a day."""

_NAMES: Final = {HOUR_US: "hour", DAY_US: "day"}


@dataclass(frozen=True, slots=True)
class Resolution:
    """What usage is kept by: before `days_before_us` by day, before `hours_before_us` by hour, since then by minute."""

    hours_before_us: int = 0
    days_before_us: int = 0

    def problems(self, start_us: int, end_us: int, step_us: int | None) -> list[tuple[str, str]]:
        """Where the bounds of these steps are finer than what is left: fields, and what is wrong with them.

        Refused, and not widened: whoever compares the sums with a bill would not see what was added.
        """
        by_day = list(_problems(DAY_US, self.days_before_us, start_us, end_us, step_us))
        return by_day or list(_problems(HOUR_US, self.hours_before_us, start_us, end_us, step_us))


def _problems(
    unit_us: int, before_us: int, start_us: int, end_us: int, step_us: int | None
) -> Iterable[tuple[str, str]]:
    unit = _NAMES[unit_us]
    because = f"because usage before {_text(before_us)} is kept by {unit}"
    for field, moment_us in (("start_time", start_us), ("end_time", end_us)):
        if moment_us < before_us and moment_us % unit_us:
            whole_us = moment_us // unit_us * unit_us
            yield field, f"must be at a whole {unit} of UTC, such as {_text(whole_us)}, {because}"
    if step_us is not None and step_us % unit_us and start_us + step_us < min(before_us, end_us):
        yield "step", f"must be whole {unit}s, or the range begin later, {because}"


def _text(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
