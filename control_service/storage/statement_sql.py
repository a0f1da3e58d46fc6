"""The lines of a statement as SQL: the ledger, added up."""

from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Label, RowMapping, Select, false, func, literal_column, select

from control_service.domain.ledger import LedgerEntryKind
from control_service.domain.period import Period
from control_service.domain.statement import OF_SERVICES, StatementGrouping, StatementLine, StatementQuery
from control_service.storage import schema

_entries = schema.ledger_entries
_services = schema.services

_GROUPS: Final[dict[StatementGrouping, tuple[str, ...]]] = {
    StatementGrouping.SERVICE: ("service_id", "service_uid", "model_id", "team"),
    StatementGrouping.MODEL: ("model_id",),
    StatementGrouping.TEAM: ("team",),
}
"""Facts of a service that are told apart, by what is asked for."""


def sums(query: StatementQuery, period: Period, limit: int) -> Select[Any]:
    """Sums by kind and group. Adjustments that add are apart from those that take away."""
    adds = (_entries.c.kind == LedgerEntryKind.ADJUSTMENT) & (_entries.c.amount_nanos > 0)
    groups = [_group(name) for name in _GROUPS[query.grouping]]
    # On PostgreSQL a sum of bigint is numeric, which the driver makes a Decimal of.
    total = func.sum(_entries.c.amount_nanos).cast(BigInteger).label("amount_nanos")
    found = select(_entries.c.kind, adds.label("adds"), *groups, total, func.count().label("entry_count")).select_from(
        _entries.outerjoin(
            _services,
            (_services.c.account_id == _entries.c.account_id) & (_services.c.service_id == _entries.c.service_id),
        )
    )
    found = found.where(
        _entries.c.account_id == query.account_id,
        _entries.c.create_us >= period.start_us,
        _entries.c.create_us < period.end_us,
        *_seen(query),
    )
    # `adds` by its name, since a parameter that is said twice is not the same expression.
    keys = (_entries.c.kind, literal_column("adds"), *(group.element for group in groups))
    return found.group_by(*keys).order_by(*keys).limit(limit)


def line_of(row: RowMapping) -> StatementLine:
    """The line in a row of `sums`."""
    values = {name: value for name, value in row.items() if name != "adds"}
    return StatementLine(**values | {"kind": LedgerEntryKind(values["kind"])})


def _group(name: str) -> Label[Any]:
    column = _services.c.model_id if name == "model_id" else _entries.c[name]
    return func.coalesce(column, literal_column("''")).label(name)


def _seen(query: StatementQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if not query.scope.whole:
        conditions.append(_entries.c.kind.in_(sorted(OF_SERVICES)))
    if query.scope.team_ids is not None:
        conditions.append(_entries.c.team.in_(sorted(query.scope.team_ids)) if query.scope.team_ids else false())
    return conditions
