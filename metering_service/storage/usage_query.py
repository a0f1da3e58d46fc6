"""A query over the minute aggregates as SQL."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Label, RowMapping, Select, Table, Text, func, literal, or_, select, true
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
    `is_sqlite`: which reads an account's services one by one, where PostgreSQL chooses a way by itself.
    """

    query: UsageQuery
    is_sqlite: bool

    def usage(self) -> Select[Any]:
        """Sums of what was booked."""
        names = (*(f"{kind}_tokens" for kind in KINDS), *SUMS)
        # On PostgreSQL a sum of bigint is numeric, which the driver makes a Decimal of.
        sums = [func.sum(minute_usage.c[name]).cast(BigInteger).label(name) for name in names]
        return self._grouped(minute_usage, (), sums).limit(USAGE_ROWS_MAX + 1)

    def denials(self) -> Select[Any] | None:
        """Counts of denials by reason. They have no labels: a filter by label leaves none."""
        if self.query.labels:
            return None
        count = func.sum(minute_denials.c.denial_count).cast(BigInteger).label("denial_count")
        grouped = self._grouped(minute_denials, (minute_denials.c.reason,), [count])
        return grouped.limit(USAGE_ROWS_MAX * REASONS_MAX + 1)

    def cell(self, row: RowMapping) -> Cell:
        """Where a row of either statement belongs."""
        return row["step"], tuple(row[f"group_{index}"] for index in range(len(self.query.group_by)))

    def _grouped(self, table: Table, others: Sequence[Column[Any]], sums: Sequence[Label[Any]]) -> Select[Any]:
        """Sums by step, by what the query groups by, and by other columns.

        Grouped by name, since a parameter that is said twice is not the same expression. And by nothing that is the
        same in all rows, for which SQLite would sort them all.
        """
        query = self.query
        step: ColumnElement[Any] = literal(0, BigInteger)
        if query.step_us is not None:
            step = (table.c.minute_us - query.start_us) // query.step_us
        groups = [_group(table, name).label(f"group_{index}") for index, name in enumerate(query.group_by)]
        keys: list[Any] = [*([] if query.step_us is None else ["step"]), *(group.name for group in groups), *others]
        grouped = select(step.label("step"), *groups, *others, *sums).where(*self._conditions(table)).group_by(*keys)
        # Without keys there would be a row of nothing.
        return grouped.having(func.count() > 0)

    def _conditions(self, table: Table) -> Iterable[ColumnElement[bool]]:
        query = self.query
        yield table.c.minute_us >= query.start_us
        yield table.c.minute_us < query.end_us
        by_teams: defaultdict[frozenset[str] | None, list[str]] = defaultdict(list)
        for name in query.services:
            by_teams[query.scope.teams_of(name)].append(name)
        named_in = _named_one_by_one if self.is_sqlite else _named
        yield or_(*(named_in(table, names) & used_by(table, teams) for teams, names in by_teams.items()))
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


def _named(table: Table, wanted: Collection[str]) -> ColumnElement[bool]:
    return named(table.c.service, wanted)


def named(service: ColumnElement[str], wanted: Collection[str]) -> ColumnElement[bool]:
    """Whether a service is one of these, or one of these accounts'."""
    accounts, names = _apart(wanted)
    # "0" is the character after "/": the range is all names below the account, and uses the index.
    below = [(service > f"{account}/") & (service < f"{account}0") for account in accounts]
    return or_(service.in_(names), *below)


def _named_one_by_one(table: Table, wanted: Collection[str]) -> ColumnElement[bool]:
    """The same by the names that the table has: times are sought for each, where a range of names is read whole."""
    accounts, names = _apart(wanted)
    service = table.c.service
    return or_(*([service.in_(names)] if names else []), *([service.in_(_names(table, accounts))] if accounts else []))


def _names(table: Table, accounts: Sequence[str]) -> Select[Any]:
    """Names of these accounts' services that the table has: from each the next one, by the index.

    One statement for however many accounts, since it is made and compiled where decisions wait for it.
    """
    its, of_account = table.alias().c.service, Column("value", Text)
    account = func.json_each(json.dumps(accounts)).table_valued(of_account).c.value

    def first_after(name: ColumnElement[str], account: ColumnElement[str]) -> ColumnElement[Any]:
        # One bound from below: of two SQLite would seek by the first, and read on from there.
        return select(func.min(its)).where(its > name, its < account + "0").scalar_subquery()

    begin = select(account.label("account"), first_after(account + "/", account).label("service")).cte(recursive=True)
    next_one = select(begin.c.account, first_after(begin.c.service, begin.c.account))
    found = begin.union_all(next_one.where(begin.c.service.is_not(None)))
    return select(found.c.service).where(found.c.service.is_not(None))


def _apart(wanted: Collection[str]) -> tuple[list[str], list[str]]:
    """Accounts, and services."""
    accounts = [name for name in wanted if name.count("/") < ACCOUNT_SEGMENTS]
    return accounts, [name for name in wanted if name not in accounts]
