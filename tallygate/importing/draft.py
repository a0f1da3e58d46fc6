"""A plan while it is made: what planners do alike, whatever gateway they read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from tallygate.importing.plan import Metric, Period, Plan, PlannedBudget, PlannedRule, Target, limit_id, nanos_of
from tallygate.importing.values import Row, UnreadableValueError

_RATE_MAX = 10**11
"""Maximum limit of a rate rule."""


class LeftOutError(Exception):
    """Something is not brought along; the message says why, as a sentence about it."""


class Draft:
    """A plan that planners add to."""

    def __init__(self, target: Target, now_s: int) -> None:
        """`now_s`: tells which keys have ended."""
        self.target = target
        self.plan = Plan()
        self._now_s = now_s

    def each(self, rows: Iterable[Row], name: Callable[[Row], str], add: Callable[[str, Row], None]) -> None:
        """Adds what stands in each row; what cannot be brought along is a line with the reason.

        `add` gets what its row is called, and plans nothing before all of it has been read.
        """
        for row in rows:
            what = name(row)
            try:
                add(what, row)
            except (LeftOutError, UnreadableValueError) as error:
                self.plan.leave_out(what, str(error))

    def check_end(self, end_s: int | None) -> int:
        """The end of a key that goes on, in seconds since 1970; 0 for none.

        Raises:
            LeftOutError: It has ended.
        """
        if end_s is not None and end_s <= self._now_s:
            raise LeftOutError("it has ended")
        return end_s or 0

    def find_models(self, names: list[str] | None) -> tuple[str, ...]:
        """Ids of the only models of a key, by all names that they have; none where it opens all, `names` being None.

        Raises:
            LeftOutError: There is none of that name, so that the key would open another one, or all.
        """
        models, unknown = self.target.find_models(names or ())
        if unknown or names == []:
            raise LeftOutError(
                f"it is for models that are not in the catalogue: {', '.join(unknown) or 'it names none'}"
            )
        return models

    def rate(self, place: str, metric: Metric, limit: int, model: str = "") -> None:
        """Plans a rate rule, of one model or of all. Gateways write a great number for no limit; a rule has a bound."""
        rule = limit_id(f"{place}/{model}" if model else place, metric.name.lower())
        self.plan.rules.append(PlannedRule(rule, place, metric, min(limit, _RATE_MAX), model))

    def model_rates(self, what: str, place: str, limits: Mapping[tuple[Metric, str], int]) -> None:
        """Plans rate rules by metric and a name of a model; of several names of one model the least limit holds."""
        least: dict[tuple[Metric, str], int] = {}
        for (metric, name), limit in limits.items():
            model = self.target.models.get(name)
            if model is None:
                self.plan.leave_out(f"{metric.value} of {what} for {name}", "this model is not in the catalogue")
            else:
                least[metric, model] = min(limit, least.get((metric, model), limit))
        for (metric, model), limit in least.items():
            self.rate(place, metric, limit, model)

    def budget(self, what: str, place: str, period: Period, amount: Decimal, spent: Decimal) -> None:
        """Plans a budget of US dollars, of which so many count as spent from the start where that is asked for."""
        if not self.target.has_dollars:
            self.plan.leave_out(what, "it is in US dollars, and the account is not")
            return
        counted = nanos_of(max(spent, Decimal(0))) if self.target.counts_spent else 0
        self.plan.budgets.append(PlannedBudget(limit_id(place, "money"), place, nanos_of(amount), period, counted))
