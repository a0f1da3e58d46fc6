"""The ledger as rows. Usage gathers in one line for each service and minute."""

import itertools
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from functools import cache
from typing import Final

from sqlalchemy import BigInteger, Executable, RowMapping, func, insert, select, true
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from control_service.domain.account import Account
from control_service.domain.actor import SYSTEM
from control_service.domain.ledger import LedgerEntry, LedgerEntryKind
from control_service.domain.ledger_span import LedgerSpan
from control_service.domain.period import Period
from control_service.domain.statement import StatementLine, StatementQuery
from control_service.storage import schema
from control_service.storage.given import NUMBER, TEXT, Columns, given, parameters
from control_service.storage.ledger_roll_up import USAGE_KEY, roll_up
from control_service.storage.statement_sql import line_of, sums
from control_service.usecases.fleet_ports import Usage
from control_service.usecases.ports import Ledger
from tallygate._server.database.upsert import dialect_insert

MINUTE_US: Final = 60_000_000

_entries = schema.ledger_entries
_LINE: Final[Columns] = {
    "account_id": TEXT,
    "entry_number": NUMBER,
    "kind": TEXT,
    "amount_nanos": NUMBER,
    "service_id": TEXT,
    "service_uid": TEXT,
    "reason": TEXT,
    "actor": TEXT,
    "actor_note": TEXT,
    "usage_minute_us": NUMBER,
    "create_us": NUMBER,
    "team": TEXT,
}
"""A line of usage."""


class LedgerRows(Ledger):
    """Ledger lines as rows."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @override
    async def add(self, entry: LedgerEntry) -> None:
        await self._connection.execute(insert(_entries).values(asdict(entry)))

    @override
    async def page(
        self, account_id: str, service_id: str | None, after: int, limit: int, *, newest_first: bool = False
    ) -> list[LedgerEntry]:
        number = _entries.c.entry_number
        behind = number < after if newest_first else number > after
        query = select(_entries).where(_entries.c.account_id == account_id, behind)
        if service_id is not None:
            query = query.where(_entries.c.service_id == service_id)
        query = query.order_by(number.desc() if newest_first else number).limit(limit)
        return [_entry(row) for row in (await self._connection.execute(query)).mappings()]

    @override
    async def sums(self, query: StatementQuery, period: Period, limit: int) -> list[StatementLine]:
        return [line_of(row) for row in (await self._connection.execute(sums(query, period, limit))).mappings()]

    @override
    async def total_since(self, account_id: str, start_us: int, kind: LedgerEntryKind | None = None) -> int:
        total = func.coalesce(func.sum(_entries.c.amount_nanos), 0).cast(BigInteger)
        query = select(total).where(_entries.c.account_id == account_id, _entries.c.create_us >= start_us)
        if kind is not None:
            query = query.where(_entries.c.kind == kind)
        return int((await self._connection.execute(query)).scalar_one())

    @override
    async def roll_up(self, span: LedgerSpan, after: tuple[str, str], limit: int) -> tuple[str, str] | None:
        return await roll_up(self._connection, span, after, limit)


async def add_usage_lines(
    connection: AsyncConnection, accounts: Mapping[str, Account], usage: Collection[Usage], now_us: int
) -> dict[str, Account]:
    """Adds usage to the lines of its services and this minute.

    Returns:
        The accounts, with the numbers of their last lines.
    """
    # A line that is new takes the number given here; a line that exists keeps its own.
    numbers = {key: itertools.count(account.ledger_entry_count + 1) for key, account in accounts.items()}
    rows = [_usage_line(spent, next(numbers[spent.account_id]), now_us) for spent in usage]
    dialect = connection.dialect.name
    stored = await connection.execute(_add_usage(dialect), parameters(dialect, _LINE, rows))
    counted = dict(accounts)
    for account_id, number in stored:
        account = counted[account_id]
        if number > account.ledger_entry_count:
            counted[account_id] = replace(account, ledger_entry_count=number)
    return counted


@cache
def _add_usage(dialect: str) -> Executable:
    rows = given(dialect, _LINE)
    # SQLite takes ON CONFLICT for a condition of a join where the query has no WHERE.
    insert = dialect_insert(dialect, _entries).from_select(list(_LINE), select(*rows.c).where(true()))
    statement: Executable = insert.on_conflict_do_update(
        index_elements=USAGE_KEY,
        set_={"amount_nanos": _entries.c.amount_nanos + insert.excluded.amount_nanos},
    ).returning(_entries.c.account_id, _entries.c.entry_number)
    return statement


def _usage_line(spent: Usage, number: int, now_us: int) -> tuple[object, ...]:
    """The values of a line, in the order of `_LINE`."""
    return (
        spent.account_id,
        number,
        LedgerEntryKind.USAGE,
        -spent.amount_nanos,
        spent.service_id,
        spent.service_uid,
        "",
        SYSTEM.name,
        SYSTEM.note,
        now_us - now_us % MINUTE_US,
        now_us,
        spent.team,
    )


def _entry(row: RowMapping) -> LedgerEntry:
    values = dict(row)
    return LedgerEntry(**{**values, "kind": LedgerEntryKind(values["kind"])})
