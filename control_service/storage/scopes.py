"""Scopes as two columns, and which rows a scope and a caller's sight leave."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, false, or_, true, tuple_

from control_service.usecases.access_ports import ScopeFilter
from tallygate._access.rights import Sight
from tallygate._access.scope import Scope


def scope_values(scope: Scope) -> dict[str, str]:
    """The two columns of a scope."""
    return {"account_id": scope.account_id, "team_id": scope.team_id}


def is_on(table: Table, scope: Scope) -> ColumnElement[bool]:
    """Whether a row lies in this very scope."""
    return and_(table.c.account_id == scope.account_id, table.c.team_id == scope.team_id)


def is_wanted(table: Table, wanted: ScopeFilter) -> ColumnElement[bool]:
    """Whether a row lies in the scope or within it, and is seen."""
    return and_(*_within(table, wanted.scope), is_seen(table.c.account_id, table.c.team_id, wanted.sight))


def _within(table: Table, scope: Scope) -> Iterable[ColumnElement[bool]]:
    yield true()
    if scope.account_id:
        yield table.c.account_id == scope.account_id
    if scope.team_id:
        yield table.c.team_id == scope.team_id


def is_seen(account_id: ColumnElement[Any], team_id: ColumnElement[Any], sight: Sight) -> ColumnElement[bool]:
    """Whether what belongs to this account, and to this team or to none, is seen."""
    if sight.everywhere:
        return true()
    seen: list[ColumnElement[bool]] = [false()]
    if sight.account_ids:
        seen.append(account_id.in_(sorted(sight.account_ids)))
    if sight.teams:
        seen.append(tuple_(account_id, team_id).in_(sorted(sight.teams)))
    return or_(*seen)
