"""A query over the minute aggregates as SQL."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Label, RowMapping, Select, Table, func, literal, or_, select, true
from sqlalchemy.types import BigInteger

from metering_service.storage.labels_sql import label_value
from metering_service.storage.rows import SUMS
from metering_service.storage.schema import KINDS, minute_denials, minute_usage, services
from metering_service.usecases.ports import USAGE_ROWS_MAX, UsageQuery

LABEL: Final = "label:"
MODEL: Final = "model"
ACCOUNT_SEGMENTS: Final = 2
"""Number of segments of `accounts/{account}`; a service's name has more."""

REASONS_MAX: Final = 64
"""More reasons than there are."""

Cell = tuple[int, tuple[str, ...]]
"""A step's number, counted from the start of the range, and the values grouped by."""


@dataclass(frozen=True, slots=True)
class UsageSql:
    """The two statements of one query. Their rows begin with a step and the values grouped by.

    Where there are more than `USAGE_ROWS_MAX` cells, a statement gives just one row more, by which this can be seen.
    """

    query: UsageQuery

    def usage(self) -> Select[Any]:
        """Sums of what was booked."""
        names = (*(f"{kind}_tokens" for kind in KINDS), *SUMS)
        keys = self._keys(minute_usage)
        # On PostgreSQL a sum of bigint is numeric, which the driver makes a Decimal of.
        sums = [func.sum(minute_usage.c[name]).cast(BigInteger).label(name) for name in names]
        grouped = select(*keys, *sums).where(*self._conditions(minute_usage)).group_by(*(key.name for key in keys))
        return grouped.limit(USAGE_ROWS_MAX + 1)

    def denials(self) -> Select[Any] | None:
        """Counts of denials by reason. They have no labels: a filter by label leaves none."""
        if self.query.labels:
            return None
        keys, reason = self._keys(minute_denials), minute_denials.c.reason
        count = func.sum(minute_denials.c.denial_count).cast(BigInteger).label("denial_count")
        grouped = select(*keys, reason, count).where(*self._conditions(minute_denials))
        return grouped.group_by(*(key.name for key in keys), reason).limit(USAGE_ROWS_MAX * REASONS_MAX + 1)

    def cell(self, row: RowMapping) -> Cell:
        """Where a row of either statement belongs."""
        return row["step"], tuple(row[f"group_{index}"] for index in range(len(self.query.group_by)))

    def _keys(self, table: Table) -> list[Label[Any]]:
        """The statements group by their names, since a parameter that is said twice is not the same expression."""
        query = self.query
        step: ColumnElement[Any] = literal(0, BigInteger)
        if query.step_us is not None:
            step = (table.c.minute_us - query.start_us) // query.step_us
        groups = (_group(table, name).label(f"group_{index}") for index, name in enumerate(query.group_by))
        return [step.label("step"), *groups]

    def _conditions(self, table: Table) -> Iterable[ColumnElement[bool]]:
        query = self.query
        yield table.c.minute_us >= query.start_us
        yield table.c.minute_us < query.end_us
        by_teams: defaultdict[frozenset[str] | None, list[str]] = defaultdict(list)
        for name in query.services:
            by_teams[query.scope.teams_of(name)].append(name)
        yield or_(*(named(table.c.service, names) & used_by(table, teams) for teams, names in by_teams.items()))
        if query.credential is not None:
            yield table.c.credential == query.credential
        for key, value in query.labels:
            yield label_value(table.c.labels, key) == value


def _group(table: Table, name: str) -> ColumnElement[str]:
    if name == MODEL:
        of = services.c.service_uid == table.c.service_uid, services.c.service == table.c.service
        return func.coalesce(select(services.c.model).where(*of).scalar_subquery(), "")
    if not name.startswith(LABEL):
        column: ColumnElement[str] = table.c[name]
        return column
    if "labels" not in table.c:
        return literal("")
    return func.coalesce(label_value(table.c.labels, name.removeprefix(LABEL)), "")


def used_by(table: Table, teams: Collection[str] | None) -> ColumnElement[bool]:
    """Whether one of these teams used what a row says; None: whoever did."""
    return true() if teams is None else table.c.team.in_(sorted(teams))


def named(service: ColumnElement[str], wanted: Collection[str]) -> ColumnElement[bool]:
    """Whether a service is one of these, or one of these accounts'."""
    accounts = [name for name in wanted if name.count("/") < ACCOUNT_SEGMENTS]
    names = [name for name in wanted if name not in accounts]
    # "0" is the character after "/": the range is all names below the account, and uses the index.
    below = [(service > f"{account}/") & (service < f"{account}0") for account in accounts]
    return or_(service.in_(names), *below)
