"""Teams in the metering database: in records, in the keys of sums, and after an upgrade."""

from pathlib import Path

from sqlalchemy import column, insert, table
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.records import RequestState, ShownRecord
from metering_service.storage import MIGRATIONS, SqlRecorder, SqlUsageReader
from tallygate._server.database.engine import migrate
from tests.harness.metering.old_rows import OLD_ROWS, migrations_below
from tests.harness.metering.records import NODE, NOON_US, SERVICE, UID, batch, denial, open_request, rows, usage


async def test_a_record_keeps_its_team(recorder: SqlRecorder) -> None:
    """While it runs, for whoever books it in the end, and afterwards."""
    epoch = await recorder.register_node(NODE)
    running = open_request("r1", team="red")
    await recorder.commit(NODE, epoch, batch(1, running, open_request("r2")))
    found = await recorder.open_requests(NODE, epoch + 1)
    assert [record.team for record in found] == ["red", ""]
    await recorder.commit(NODE, epoch, batch(2, running._replace(state=RequestState.TIMED_OUT, booked_us=NOON_US)))
    (record,) = await recorder.find_request(UID, "r1")
    assert (record.state, record.team) == (RequestState.TIMED_OUT, "red")


async def test_sums_of_a_minute_are_apart_for_each_team(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """Two teams in one minute of one service are two sums, and each grows by what is its own."""
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, usage(0, 1, team="red"), usage(0, 2, team="blue"), denial(0, 3)))
    more = (usage(0, 4, team="red"), usage(0, 8), denial(0, 5, team="blue"), denial(0, 1))
    await recorder.commit(NODE, epoch, batch(2, *more))
    found = {dict(row.group)["team"]: row for row in await rows(reader, group_by=("team",))}
    assert {team: row.totals.usage.output for team, row in found.items()} == {"": 8, "blue": 2, "red": 5}
    assert {team: row.denials for team, row in found.items()} == {
        "": (("BUDGET_CONTENDED", 4),),
        "blue": (("BUDGET_CONTENDED", 5),),
        "red": (),
    }


async def test_what_is_older_than_teams_was_used_by_none(engine: AsyncEngine, tmp_path: Path) -> None:
    """The upgrade keeps every row, and what comes later is added to those of no team."""
    await migrate(engine, migrations_below("0011", tmp_path), "metering service")
    async with engine.begin() as connection:
        for name, row in OLD_ROWS.items():
            await connection.execute(insert(table(name, *map(column, row))).values(row))
    await migrate(engine, MIGRATIONS, "metering service")
    recorder, reader = SqlRecorder(engine, lambda: "id"), SqlUsageReader(engine)
    try:
        epoch = await recorder.register_node(NODE)
        await recorder.commit(NODE, epoch, batch(1, usage(0, 1), usage(0, 2, team="red"), denial(0, 1)))
        found = await rows(reader, group_by=("team",))
        assert [(row.group, row.totals.usage.output) for row in found] == [
            ((("team", ""),), 8),
            ((("team", "red"),), 2),
        ]
        assert found[0].denials == (("BUDGET_CONTENDED", 6),)
        assert [_facts(record) for record in await reader.request_parts(SERVICE, "r1")] == [("p1", 7, "")]
    finally:
        await recorder.close()


def _facts(record: ShownRecord) -> tuple[str, int, str]:
    return record.part, record.counts.input, record.team
