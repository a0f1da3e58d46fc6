"""Roll-up of usage lines: those of one hour or day become the first of them. The sum of all lines stays the balance."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, Select, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from control_service.domain.ledger_span import LedgerSpan
from control_service.storage import schema
from tallygate._server.database.upsert import dialect_insert

SERVICES: Final = 50
"""Maximum number of services that one part looks at."""

USAGE_KEY: Final = ("account_id", "service_uid", "usage_minute_us", "team")
"""Columns that tell usage lines apart."""

_entries = schema.ledger_entries
_services = schema.services


async def roll_up(
    connection: AsyncConnection, span: LedgerSpan, after: tuple[str, str], limit: int
) -> tuple[str, str] | None:
    """Adds up the lines of the first services that have any, up to `limit` in all.

    Returns:
        After which service to go on; None at the end.
    """
    place = _services.c.account_id, _services.c.service_id
    some = select(*place, _services.c.uid).where(tuple_(*place) > after).order_by(*place).limit(SERVICES)
    services = (await connection.execute(some)).all()
    left = limit
    for account_id, service_id, uid in services:
        left -= await _add_up(connection, span, _lines(span, account_id, uid).limit(left))
        if left <= 0:
            return after
        after = account_id, service_id
    return after if len(services) == SERVICES else None


def _lines(span: LedgerSpan, account_id: str, service_uid: str) -> Select[Any]:
    """The numbers of a service's lines in the span that do not begin with a step, in the order in which they lie."""
    minute = _entries.c.usage_minute_us
    of_service = _entries.c.account_id == account_id, _entries.c.service_uid == service_uid
    is_due = minute >= span.start_us, minute < span.end_us, minute % span.step_us != 0
    # In this order, so that two replicas that do the same wait for one another.
    return (
        select(_entries.c.account_id, _entries.c.entry_number)
        .where(*of_service, *is_due)
        .order_by(minute)
        .with_for_update()
    )


async def _add_up(connection: AsyncConnection, span: LedgerSpan, numbers: Select[Any]) -> int:
    """Adds these lines to those of their steps; how many it were."""
    names = _entries.c.account_id, _entries.c.entry_number
    gone = delete(_entries).where(tuple_(*names).in_(numbers)).returning(*_entries.c)
    rows = (await connection.execute(gone)).mappings().all()
    if rows:
        insert = dialect_insert(connection.dialect, _entries)
        add = insert.on_conflict_do_update(
            index_elements=USAGE_KEY,
            set_={"amount_nanos": _entries.c.amount_nanos + insert.excluded.amount_nanos},
        )
        await connection.execute(add, _summed(rows, span.step_us))
    return len(rows)


def _summed(rows: Sequence[RowMapping], step_us: int) -> list[dict[str, Any]]:
    """One line for each step and team, with what else the first of its lines says."""
    sums: dict[tuple[int, str], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: int(row["entry_number"])):
        start_us = row["usage_minute_us"] // step_us * step_us
        line = sums.setdefault((start_us, row["team"]), {**row, "usage_minute_us": start_us, "amount_nanos": 0})
        line["amount_nanos"] += row["amount_nanos"]
    return list(sums.values())
