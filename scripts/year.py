"""Measures what a part of a year of a fleet takes on disk, and how long a month's usage takes to be read.

Writes each day's sums and usage lines as nodes and exchanges write them, a row for each service and minute, in order of
time; rolls up what that day made old, by the services' own code, at a time that is injected; then asks. On SQLite in a
folder, or on two databases of PostgreSQL that are empty yet:

    python scripts/year.py --services 10 --days 150 sqlite:////tmp/m.sqlite3 sqlite:////tmp/c.sqlite3
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.account import Account, OverduePolicy
from control_service.domain.kept_days import KeptDays
from control_service.domain.ledger_span import DAY_US
from control_service.domain.service import Service, ServiceKind
from control_service.domain.statement import StatementGrouping, StatementQuery, StatementScope
from control_service.storage.database import MIGRATIONS as CONTROL_MIGRATIONS
from control_service.storage.database import SqlDatabase
from control_service.usecases.people.statements import statement_of
from control_service.usecases.upkeep.ledger_roll_up import PERIOD_NS, LedgerRollUp
from metering_service.storage import MIGRATIONS, SqlRollUpStore, SqlUsageReader
from metering_service.usecases.ports import UsageQuery
from metering_service.usecases.upkeep.roll_up import RollUp
from tallygate._server.clock import ManualClock
from tallygate._server.database.engine import create_engine, migrate

START_US: Final = 1_767_225_600_000_000
"""Start of the first day: 2026-01-01."""
RUNS: Final = 5
"""Number of times that each question is asked."""
REPORT_DAYS: Final = 30
"""Interval between two lines on size."""

SERIES: Final = {
    "sqlite": "(WITH RECURSIVE {0}(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM {0} WHERE n < :{0}s - 1) "
    "SELECT n FROM {0}) AS {0}",
    "postgresql": "generate_series(CAST(0 AS bigint), CAST(:{0}s AS bigint) - 1) AS {0}(n)",
}
USAGE: Final = """
INSERT INTO minute_usage (service, minute_us, service_uid, team, credential, labels, key_team, hour_us,
    input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
    reserved_tokens, trial_tokens, billed_tokens, unfunded_tokens, overrun_tokens, cost_nanos, debt_nanos,
    request_count)
SELECT 'accounts/acme/services/chat-' || service.n, CAST(:day_us AS bigint) + 60000000 * minute.n, {uid},
    'team-' || service.n % 3, {uid}, '{{"env":"prod"}}', '', CAST(:day_us AS bigint) + 3600000000 * (minute.n / 60),
    5000 + minute.n, 700, 0, 1800 + service.n, 0, 0, 0, 7500 + minute.n + service.n, 0, 0, 1234567 * (minute.n + 1),
    0, 6
FROM {minutes}, {services} ORDER BY minute.n, service.n"""
LINES: Final = """
INSERT INTO ledger_entries (account_id, entry_number, kind, amount_nanos, service_id, service_uid, reason, actor,
    actor_note, usage_minute_us, create_us, team)
SELECT 'acme', 1 + CAST(:day AS bigint) * :minutes * :services + minute.n * :services + service.n, 'USAGE',
    -1234567 * (minute.n + 1), 'chat-' || service.n, {uid}, '', 'system', '',
    CAST(:day_us AS bigint) + 60000000 * minute.n, CAST(:day_us AS bigint) + 60000000 * minute.n + 7,
    'team-' || service.n % 3
FROM {minutes}, {services} ORDER BY minute.n, service.n"""
PAGES: Final = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
UID: Final = "'00000000-0000-4000-8000-' || substr(CAST(100000000000 + service.n AS text), 1, 12)"


@dataclass(frozen=True)
class Part:
    """What is filled with a part of a year, in one database."""

    name: str
    engine: AsyncEngine
    table: str
    fill: str
    roll_up: Callable[[], Awaitable[None]]

    async def day(self, day: int, services: int) -> None:
        """Write a day."""
        series = {f"{name}s": SERIES[self.engine.dialect.name].format(name) for name in ("minute", "service")}
        values = {"day": day, "day_us": START_US + day * DAY_US, "minutes": 1440, "services": services}
        fill = text(self.fill.format(uid=UID, **series))
        async with self.engine.begin() as connection:
            await connection.execute(fill, {name: values[name] for name in fill.compile().params})

    async def report(self, day: int, seconds: float) -> None:
        """Say how large it is, indexes included; what is free within is left in."""
        async with self.engine.connect() as connection:
            rows = await connection.scalar(text(f"SELECT count(*) FROM {self.table}"))  # noqa: S608  # of the constants
            if self.engine.dialect.name == "sqlite":
                size = await connection.scalar(text(PAGES))
            else:
                size = await connection.scalar(text(f"SELECT pg_total_relation_size('{self.table}')"))
        print(
            f"{self.name}: day {day}: {rows:,} rows, {size / 1e6:,.1f} MB, {size / rows:,.0f} B a row; "
            f"a day was rolled up in {seconds:.2f} s"
        )

    async def tidy(self) -> None:
        """Do what PostgreSQL does by itself as days go by, and SQLite with each commit."""
        if self.engine.dialect.name == "sqlite":
            return
        async with self.engine.connect() as connection:
            each = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await each.execute(text(f"VACUUM ANALYZE {self.table}"))


async def fill(part: Part, clock: ManualClock, days: int, services: int) -> None:
    """Write days one by one, and roll up after each."""
    for day in range(days):
        await part.day(day, services)
        clock.advance(us=DAY_US)
        start = time.perf_counter()
        await part.roll_up()
        seconds = time.perf_counter() - start
        await part.tidy()
        if (day + 1) % REPORT_DAYS == 0:
            await part.report(day + 1, seconds)


async def ask(what: str, question: Callable[[], Awaitable[int]]) -> None:
    """Ask some times, and print the median."""
    taken, count = [], 0
    for _ in range(RUNS):
        start = time.perf_counter()
        count = await question()
        taken.append(time.perf_counter() - start)
    print(f"{what}: {statistics.median(taken) * 1000:,.0f} ms (median of {RUNS}), {count} buckets or lines")


async def measure_usage(url: str, days: int, services: int, minute_days: int) -> None:
    """Sums of minutes: fill, then read a month that is kept by minute."""
    engine, clock = create_engine(url), ManualClock(START_US)
    await migrate(engine, MIGRATIONS, "metering service")
    rolls = RollUp(SqlRollUpStore(engine), clock, minute_days * DAY_US)

    async def roll_up() -> None:
        while await rolls.step():
            pass

    await fill(Part("usage", engine, "minute_usage", USAGE, roll_up), clock, days, services)
    reader, end_us = SqlUsageReader(engine), START_US + days * DAY_US

    async def month(names: tuple[str, ...], by: tuple[str, ...] = (), step_us: int | None = None) -> int:
        query = UsageQuery(end_us - 30 * DAY_US, end_us, step_us, names, None, (), by)
        return len(await reader.query_usage(query))

    one, account = ("accounts/acme/services/chat-1",), ("accounts/acme",)
    await ask("a month of a service", lambda: month(one))
    await ask("a month of a service by day", lambda: month(one, (), DAY_US))
    await ask(f"a month of an account of {services} services", lambda: month(account))
    await ask("the same by service, of which each has a model", lambda: month(account, ("service",)))
    await ask("the same by team", lambda: month(account, ("team",)))
    await engine.dispose()


async def measure_ledger(url: str, days: int, services: int, minute_days: int) -> None:
    """Usage lines: fill, then read a statement of a month."""
    engine, clock = create_engine(url), ManualClock(START_US)
    await migrate(engine, CONTROL_MIGRATIONS, "control service")
    database, day = SqlDatabase(engine), START_US
    policy = OverduePolicy.STOP_ALL
    async with database.writing() as tx:
        await tx.accounts.add(Account("acme", "acme-uid", "", "USD", 0, 0, policy, day, day))
        for number in range(services):
            uid = f"00000000-0000-4000-8000-{100_000_000_000 + number}"
            model_id, kind = f"model-{number % 4}", ServiceKind.CUSTOM
            await tx.services.add(Service("acme", f"chat-{number}", uid, model_id, kind, create_us=day, update_us=day))
    rolls = LedgerRollUp(database, clock, KeptDays(minutes=minute_days))

    async def roll_up() -> None:
        clock.advance(us=PERIOD_NS // 1_000)
        while rolls.is_due:
            await rolls.tick()

    await fill(Part("ledger", engine, "ledger_entries", LINES, roll_up), clock, days, services)
    for grouping in StatementGrouping:
        asked = StatementQuery("acme", (2026, days // 31), "UTC", grouping, StatementScope(whole=True))

        async def statement(asked: StatementQuery = asked) -> int:
            async with database.reading() as tx:
                return len((await statement_of(tx, asked, clock.now_us())).lines)

        await ask(f"a statement of a month by {grouping.lower()}", statement)
    await engine.dispose()


def main() -> None:
    """Measure both."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--services", type=int, default=10, help="number of services, each used in every minute")
    options.add_argument("--days", type=int, default=150, help="number of days to write")
    options.add_argument("--minute-days", type=int, default=90, help="as of both services")
    options.add_argument("metering_url", help="URL of an empty database for usage")
    options.add_argument("control_url", help="URL of an empty database for the ledger")
    asked = options.parse_args()
    asyncio.run(measure_usage(asked.metering_url, asked.days, asked.services, asked.minute_days))
    asyncio.run(measure_ledger(asked.control_url, asked.days, asked.services, asked.minute_days))


if __name__ == "__main__":
    main()
