"""What requests are stamped with in the metering database: in records, in the keys of sums, and after an upgrade."""

from pathlib import Path

from sqlalchemy import column, insert, table
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.pot import LimitPotKey, PotKind
from metering_service.domain.records import RequestState
from metering_service.domain.stamp import HOUR_US, Stamp, hour_of
from metering_service.storage import MIGRATIONS, SqlRecorder, SqlUsageReader
from tallygate._server.database.engine import migrate
from tests.harness.metering.old_rows import OLD_ROWS, migrations_below
from tests.harness.metering.records import NODE, NOON_US, UID, batch, denial, open_request, rows, usage

POTS = (
    LimitPotKey(PotKind.BUDGET_TOKENS, "uid-1"),
    LimitPotKey(PotKind.BUDGET_MONEY, "uid-2", "uid-key", HOUR_US),
)
STAMP = Stamp("uid-key", "green", "red", NOON_US, POTS)


async def test_a_record_keeps_its_stamp(recorder: SqlRecorder) -> None:
    """While it runs, for whoever books it in the end, and afterwards."""
    epoch = await recorder.register_node(NODE)
    running = open_request("r1", credential="uid-key", key_team="green", team="red", hour_us=NOON_US, pots=POTS)
    await recorder.commit(NODE, epoch, batch(1, running, open_request("r2")))
    found = await recorder.open_requests(NODE, epoch + 1)
    assert [record.stamp for record in found] == [STAMP, Stamp("key-1", hour_us=hour_of(NOON_US))]
    await recorder.commit(NODE, epoch, batch(2, running._replace(state=RequestState.TIMED_OUT, booked_us=NOON_US)))
    (record,) = await recorder.find_request(UID, "r1")
    assert (record.state, record.stamp) == (RequestState.TIMED_OUT, STAMP)


async def test_sums_are_apart_for_each_team_of_keys(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """And for each hour of authorisation, of which every query has all."""
    epoch = await recorder.register_node(NODE)
    sums = (
        usage(0, 1, key_team="green"),
        usage(0, 2, key_team="green", hour_us=NOON_US - HOUR_US),
        usage(0, 4),
        denial(0, 3, key_team="green"),
        denial(0, 5),
    )
    await recorder.commit(NODE, epoch, batch(1, *sums))
    found = {dict(row.group)["key_team"]: row for row in await rows(reader, group_by=("key_team",))}
    assert {team: row.totals.usage.output for team, row in found.items()} == {"": 4, "green": 3}
    assert {team: row.denials for team, row in found.items()} == {
        "": (("BUDGET_CONTENDED", 5),),
        "green": (("BUDGET_CONTENDED", 3),),
    }


async def test_what_is_older_than_stamps_is_of_its_minutes_hour(engine: AsyncEngine, tmp_path: Path) -> None:
    """The upgrade keeps every row, and what comes later in that minute is added to it."""
    await migrate(engine, migrations_below("0013", tmp_path), "metering service")
    async with engine.begin() as connection:
        for name, row in OLD_ROWS.items():
            await connection.execute(insert(table(name, *map(column, row))).values(row))
    await migrate(engine, MIGRATIONS, "metering service")
    recorder, reader = SqlRecorder(engine, lambda: "id"), SqlUsageReader(engine)
    try:
        epoch = await recorder.register_node(NODE)
        await recorder.commit(NODE, epoch, batch(1, usage(0, 1, hour_us=hour_of(NOON_US)), denial(0, 1)))
        (found,) = await rows(reader, group_by=("key_team",))
        assert (found.group, found.totals.usage.output) == ((("key_team", ""),), 8)
        assert found.denials == (("BUDGET_CONTENDED", 6),)
        async with engine.connect() as connection:
            hours = (await connection.exec_driver_sql("SELECT hour_us FROM minute_usage")).scalars().all()
        assert hours == [hour_of(NOON_US)]
        (record,) = await recorder.open_requests(NODE, epoch)
        assert record.stamp == Stamp("key-1", hour_us=hour_of(NOON_US))
    finally:
        await recorder.close()
