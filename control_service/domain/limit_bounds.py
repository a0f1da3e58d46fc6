"""Bounds of rate rules and budgets: how many there are, and how great their figures."""

from typing import Final

LIMITS_ON_PLACE_MAX: Final = 100
"""Maximum number of limits that hang on one account, model, team, service or key."""

LIMITS_OF_SUBJECT_MAX: Final = 1_000
"""Maximum number of limits of one account, all that is in it included, and of one model."""

MINUTE_US: Final = 60 * 10**6
"""Length of a minute: the shortest period of a rate rule."""

RATE_PERIOD_US_MAX: Final = 86_400 * 10**6
"""Maximum period of a rate rule."""

RATE_UNITS_MAX: Final = 10**11
"""Maximum limit of a rate rule: a day's burst of it still fits into 64 bits, counted in parts of a millisecond."""

PERCENT_MAX: Final = 1_000
"""Maximum threshold of a budget, in percent: soft budgets and debts go beyond 100."""

THRESHOLD_COUNT_MAX: Final = 10
"""Maximum number of thresholds of a budget."""

RAISE_US_MAX: Final = 366 * 86_400 * 10**6
"""Maximum time for which a budget is raised."""
