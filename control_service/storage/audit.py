"""The audit log as rows."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Dialect,
    Executable,
    RowMapping,
    and_,
    case,
    delete,
    false,
    insert,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.actor import CallSource
from control_service.domain.audit_entry import AuditEntry, AuditOutcome
from control_service.storage import schema
from control_service.usecases.audit_ports import AuditEntries, AuditFilter
from tallygate._access.rights import Sight
from tallygate._access.scope import Scope
from tallygate._server.database.upsert import dialect_insert

_entries = schema.audit_entries
_moment = tuple_(_entries.c.event_us, _entries.c.entry_id)


class AuditEntryRows(AuditEntries):
    """Entries as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def add(self, entry: AuditEntry) -> None:
        await self._connection.execute(insert(_entries).values(_values(entry)))

    @override
    async def count(self, entries: Collection[AuditEntry]) -> None:
        if entries:
            await self._connection.execute(_raise_count(self._connection.dialect), [*map(_values, entries)])

    @override
    async def page(self, wanted: AuditFilter, before: tuple[int, str], limit: int) -> list[AuditEntry]:
        query = select(_entries).where(_moment < tuple_(*before), *_conditions(wanted))
        query = query.order_by(_entries.c.event_us.desc(), _entries.c.entry_id.desc()).limit(limit)
        return [_entry(row) for row in (await self._connection.execute(query)).mappings()]

    @override
    async def delete(self, before_us: int, limit: int) -> int:
        key = tuple(_entries.primary_key)
        old = select(*key).where(_entries.c.event_us < before_us).order_by(_entries.c.event_us).limit(limit)
        return (await self._connection.execute(delete(_entries).where(tuple_(*key).in_(old)))).rowcount


def _raise_count(dialect: Dialect) -> Executable:
    insert = dialect_insert(dialect, _entries)
    stored, new = _entries.c.call_count, insert.excluded.call_count
    statement: Executable = insert.on_conflict_do_update(
        index_elements=list(_entries.primary_key), set_={"call_count": case((new > stored, new), else_=stored)}
    )
    return statement


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    equal = {
        _entries.c.account_id: wanted.account_id,
        _entries.c.principal: wanted.principal,
        _entries.c.method: wanted.method,
        _entries.c.outcome: wanted.outcome,
    }
    conditions: list[ColumnElement[bool]] = [column == value for column, value in equal.items() if value is not None]
    if wanted.resource is not None:
        conditions.append(_within(wanted.resource))
    if wanted.start_us is not None:
        conditions.append(_entries.c.event_us >= wanted.start_us)
    if wanted.end_us is not None:
        conditions.append(_entries.c.event_us < wanted.end_us)
    if not wanted.sight.everywhere:
        conditions.append(_seen(wanted.sight))
    return conditions


def _within(resource: str) -> ColumnElement[bool]:
    """This resource and those within it: all texts from its name and a slash to its name and what follows a slash."""
    column = _entries.c.resource
    return or_(column == resource, and_(column > f"{resource}/", column < f"{resource}0"))


def _seen(sight: Sight) -> ColumnElement[bool]:
    """What lies in these accounts, and of a team what was done to it."""
    teams = (
        and_(_entries.c.account_id == account_id, _within(Scope(account_id, team_id).name))
        for account_id, team_id in sorted(sight.teams)
    )
    return or_(false(), _entries.c.account_id.in_(sorted(sight.account_ids)), *teams)


def _values(entry: AuditEntry) -> dict[str, Any]:
    values = {name: getattr(entry, name) for name in AuditEntry.__slots__}
    source: CallSource = values.pop("source")
    return values | {
        "principal": source.principal,
        "access_token": source.access_token,
        "caller_note": source.note,
        "peer": source.peer,
    }


def _entry(row: RowMapping) -> AuditEntry:
    values = dict(row)
    source = CallSource(*(values.pop(name) for name in ("principal", "access_token", "caller_note", "peer")))
    return AuditEntry(**values | {"source": source, "outcome": AuditOutcome(values["outcome"])})
