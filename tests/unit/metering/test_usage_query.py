"""What SQLite does for a query of usage, counted in steps of its machine."""

import sqlite3

import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from metering_service.storage.schema import minute_usage
from metering_service.storage.usage_query import UsageSql
from metering_service.usecases.ports import UsageQuery

DIALECT = sqlite.dialect()
MINUTE_US = 60_000_000
ASKED_MINUTES = 10
SERVICES = [f"accounts/acme/services/s{number:02d}" for number in range(20)]


def filled(minutes: int) -> sqlite3.Connection:
    """Sums of each service in each of the minutes."""
    connection = sqlite3.connect(":memory:")
    connection.execute(str(CreateTable(minute_usage).compile(dialect=DIALECT)))
    names = [column.name for column in minute_usage.columns]
    texts = {"service_uid", "team", "credential", "labels", "key_team"}
    rows = [
        [
            service if name == "service" else at * MINUTE_US if name == "minute_us" else "" if name in texts else 1
            for name in names
        ]
        for at in range(minutes)
        for service in SERVICES
    ]
    places = ",".join("?" * len(names))
    connection.executemany(f"INSERT INTO minute_usage VALUES ({places})", rows)  # noqa: S608  # of question marks
    return connection


def steps_of(connection: sqlite3.Connection, *group_by: str) -> int:
    """Number of steps of a query of the last minutes of the account."""
    ((last_us,),) = connection.execute("SELECT max(minute_us) FROM minute_usage")
    asked = UsageQuery(last_us - ASKED_MINUTES * MINUTE_US, last_us, None, ("accounts/acme",), None, (), group_by)
    statement = UsageSql(asked, is_sqlite=True).usage().compile(dialect=DIALECT, compile_kwargs={"literal_binds": True})
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(count, 1)
    found = connection.execute(str(statement)).fetchall()
    connection.set_progress_handler(None, 0)
    names = [column[0] for column in connection.execute(str(statement)).description]
    assert sum(row[names.index("request_count")] for row in found) == ASKED_MINUTES * len(SERVICES)
    return steps


@pytest.mark.parametrize("group_by", [(), ("service",), ("team",)])
def test_what_is_outside_the_range_is_not_read(group_by: tuple[str, ...]) -> None:
    """Ten times as many other minutes are next to no more work, whatever usage is grouped by."""
    assert steps_of(filled(300), *group_by) < 1.1 * steps_of(filled(30), *group_by)


def test_nothing_is_sorted_that_is_in_order() -> None:
    """Sums of all, and by service, are in the order of the key; by team, rows have to be sorted."""
    connection = filled(30)
    assert max(steps_of(connection), steps_of(connection, "service")) < 0.8 * steps_of(connection, "team")


def test_one_statement_for_however_many_accounts() -> None:
    """It is made on the loop, where each more would keep decisions waiting."""
    every = tuple(f"accounts/a{number}" for number in range(100))
    queries = [UsageQuery(0, MINUTE_US, None, wanted, None, (), ()) for wanted in (every[:1], every)]
    one, hundred = (str(UsageSql(query, is_sqlite=True).usage().compile(dialect=DIALECT)) for query in queries)
    assert one == hundred
