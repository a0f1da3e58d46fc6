"""The reading half of the metering database."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, exists, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.errors import InvalidRequestError
from metering_service.domain.records import AggregateDelta, ShownRecord
from metering_service.domain.usage_scope import WHOLE_SCOPE, UsageScope, account_id_of
from metering_service.storage.failures import database_answers
from metering_service.storage.roll_up import read_resolution
from metering_service.storage.rows import SHOWN, aggregate_of, shown_of, with_counts
from metering_service.storage.schema import minute_denials, minute_usage, requests, services
from metering_service.storage.usage_query import Cell, UsageSql, named, used_by
from metering_service.usecases.ports import AT_ANY_TIME, USAGE_ROWS_MAX, Settled, UsageQuery, UsageRow
from tallygate._server.database.replica import Replica, reading_of

_SHOWN: Final = with_counts(columns=SHOWN)


class SqlUsageReader:
    """`UsageReader` over SQLite or PostgreSQL."""

    def __init__(self, engine: AsyncEngine, replica: Replica | None = None) -> None:
        self._engine = engine
        self._replica = replica

    async def query_usage(self, query: UsageQuery) -> list[UsageRow]:
        """Read sums and denials with one statement each, and put them together by step and group."""
        sql = UsageSql(query, is_sqlite=self._engine.dialect.name == "sqlite")
        totals: dict[Cell, AggregateDelta] = {}
        denials: defaultdict[Cell, list[tuple[str, int]]] = defaultdict(list)
        async with database_answers(self._engine), reading_of(self._engine, self._replica) as connection:
            resolution = await read_resolution(connection)
            problems = resolution.problems(query.start_us, query.end_us, query.step_us)
            if problems:
                raise InvalidRequestError(*problems)
            for row in (await connection.execute(sql.usage())).mappings():
                totals[sql.cell(row)] = aggregate_of(row)
            denial_sql = sql.denials()
            if denial_sql is not None:
                for row in (await connection.execute(denial_sql)).mappings():
                    denials[sql.cell(row)].append((row["reason"], row["denial_count"]))
        cells = sorted(totals.keys() | denials.keys())
        if len(cells) > USAGE_ROWS_MAX:
            raise InvalidRequestError(
                ("group_by", f"gives more than {USAGE_ROWS_MAX:,} buckets: group by less, or take longer steps")
            )
        return [
            _usage_row(query, cell, totals.get(cell, AggregateDelta()), sorted(denials.get(cell, ()))) for cell in cells
        ]

    async def unused(self, names: Sequence[str], scope: UsageScope = WHOLE_SCOPE) -> list[str]:
        """Look each name up in the aggregates, unless teams narrow the scope."""
        asked = [name for name in dict.fromkeys(names) if scope.sight.teams_of(account_id_of(name)) is None]
        if not asked:
            return []
        tables = minute_usage, minute_denials
        used = select(*(or_(*(exists().where(named(one.c.service, [name])) for one in tables)) for name in asked))
        async with database_answers(self._engine), reading_of(self._engine, self._replica) as connection:
            found = (await connection.execute(used)).one()
        return [name for name, is_used in zip(asked, found, strict=True) if not is_used]

    async def request_parts(self, service: str, request_id: str, scope: UsageScope = WHOLE_SCOPE) -> list[ShownRecord]:
        """Read all parts of one request that are in the scope, in order of their start."""
        key, is_seen = requests.c, used_by(requests, scope.teams_of(service))
        found = _SHOWN.where(key.service == service, key.request_id == request_id, is_seen)
        return await self._records(found.order_by(key.start_us, key.part))

    async def parts_in_account(
        self, account: str, request_id: str, scope: UsageScope = WHOLE_SCOPE
    ) -> list[ShownRecord]:
        """Read all parts of requests of this id on any service of the account that are in the scope.

        The names are looked up first: the account's records are many, and a service's name is the first part of a key.
        """
        key, its = requests.c, services.c.service
        # The character after the slash: so names are within a range, which an index can find.
        names = select(its).where(its >= f"{account}/services/", its < f"{account}/services0")
        is_seen = used_by(requests, scope.teams_of(account))
        found = _SHOWN.where(key.service.in_(names), key.request_id == request_id, is_seen)
        return await self._records(found.order_by(key.service, key.start_us, key.part))

    async def list_requests(
        self,
        service: str,
        after: tuple[str, str] | None,
        limit: int,
        scope: UsageScope = WHOLE_SCOPE,
        settled: Settled = AT_ANY_TIME,
    ) -> Sequence[ShownRecord]:
        """Read records of a service after that position that are in the scope, in order of (request_id, part)."""
        position = tuple_(requests.c.request_id, requests.c.part)
        page = _SHOWN.where(requests.c.service == service, used_by(requests, scope.teams_of(service)))
        if after is not None:
            page = page.where(position > after)
        if settled.start_us is not None:
            page = page.where(requests.c.settle_us >= settled.start_us)
        if settled.end_us is not None:
            page = page.where(requests.c.settle_us < settled.end_us)
        return await self._records(page.order_by(*position).limit(limit))

    async def _records(self, query: Select[Any]) -> list[ShownRecord]:
        async with database_answers(self._engine), reading_of(self._engine, self._replica) as connection:
            return [shown_of(row) for row in (await connection.execute(query)).all()]


def _usage_row(query: UsageQuery, cell: Cell, totals: AggregateDelta, denials: list[tuple[str, int]]) -> UsageRow:
    step, group = cell
    step_us = query.step_us or query.end_us - query.start_us
    start_us = query.start_us + step * step_us
    return UsageRow(
        start_us=start_us,
        end_us=min(start_us + step_us, query.end_us),
        group=tuple(zip(query.group_by, group, strict=True)),
        totals=totals,
        denials=tuple(denials),
    )
