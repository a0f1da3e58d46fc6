"""Thresholds: which one a level has reached. What is told is the furthest one reached, once.

Of each thing that is watched, the threshold that it stands at is stored. An alert is due when a further one is reached
than the stored one, however many lie between; where the level falls back, the stored one does as well, which arms the
others again.
"""

from collections.abc import Collection
from typing import Final

from control_service.domain.trial import Trial

TRIAL_PERCENTS: Final = (80, 100)
"""Thresholds of trials where an account's settings do not say others, in percent of the quota."""
PERCENT_MAX: Final = 100
"""Maximum of a threshold in percent."""
THRESHOLD_COUNT_MAX: Final = 10
"""Maximum number of thresholds of one thing."""


def percent_reached(percents: Collection[int], spent_units: int, amount_units: int) -> int:
    """The highest of these percents of an amount that is spent; 0 where none is, or nothing was spent."""
    if spent_units <= 0:
        return 0
    return max((one for one in percents if spent_units * PERCENT_MAX >= one * amount_units), default=0)


def next_percent(percents: Collection[int], reached: int) -> int | None:
    """The lowest of these percents above the one that was reached; None where there is none."""
    return min((one for one in percents if one > reached), default=None)


def remainder_reached(thresholds: Collection[int], left_units: int) -> int | None:
    """The lowest of these remainders that is all that is left, or less; None where more is left than each of them."""
    return min((one for one in thresholds if left_units <= one), default=None)


def is_less(reached: int | None, told: int | None) -> bool:
    """Whether a lower remainder was reached than the one that was told of."""
    return reached is not None and (told is None or reached < told)


def trial_percent_reached(percents: Collection[int], trial: Trial) -> int:
    """As `percent_reached`, of a trial's quota; all of it counts as spent once less is left than any request needs."""
    spent_tokens = trial.quota_tokens if trial.exhausted and trial.spent_tokens else trial.spent_tokens
    return percent_reached(percents, spent_tokens, trial.quota_tokens)
