"""Why requests had to end, in the metering database: for whoever books them, for readers, and beside older programs."""

from pathlib import Path

from sqlalchemy import column, insert, table, text
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.cut import Cut
from metering_service.domain.decision import Reason
from metering_service.domain.records import RequestState
from metering_service.storage import MIGRATIONS, SqlRecorder, SqlUsageReader
from tallygate._server.database.engine import migrate
from tests.harness.metering.old_rows import OLD_REQUEST, migrations_below
from tests.harness.metering.records import NODE, NOON_US, SERVICE, UID, batch, open_request, settled_request, shown

STOPPED = Cut(Reason.SUSPENDED, NOON_US + 1)
AT_CEILING = Cut(Reason.BUDGET_EXCEEDED, NOON_US, 20, "accounts/acme/budgets/cap")
NOW = {**OLD_REQUEST, "team": "", "key_team": "", "hour_us": NOON_US, "pots": "[]", "ranks": "[]", "hold_for_us": 0}
"""A request as programs before this column write it."""


async def test_a_record_says_what_its_server_was_told(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """While it runs, for whoever books it in the end; and of a last grant, once it has come that far."""
    epoch = await recorder.register_node(NODE)
    stopped, ending = open_request("r1", told=STOPPED), open_request("r2", output=19, told=AT_CEILING)
    await recorder.commit(NODE, epoch, batch(1, stopped, ending, open_request("r3")))
    found = await recorder.open_requests(NODE, epoch + 1)
    assert [record.told for record in found] == [STOPPED, AT_CEILING, None]
    assert [shown(record).cut for record in found] == [STOPPED, None, None]
    ended = settled_request("r2", output=20, told=AT_CEILING)
    await recorder.commit(NODE, epoch, batch(2, found[0]._replace(state=RequestState.TIMED_OUT, booked_us=1), ended))
    records = await reader.list_requests(SERVICE, None, 10)
    assert [record.cut for record in records] == [STOPPED, AT_CEILING, None]


async def test_what_a_newer_program_says_is_left_out(recorder: SqlRecorder, database: AsyncEngine) -> None:
    """A reason that this one does not know breaks no reading."""
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, open_request("r1", told=STOPPED)))
    async with database.begin() as connection:
        await connection.execute(text('UPDATE requests SET told = \'["OF_TOMORROW",1,0,""]\''))
    (record,) = await recorder.find_request(UID, "r1")
    assert record.told is None


async def test_programs_from_before_write_on(engine: AsyncEngine, tmp_path: Path) -> None:
    """What they wrote, and what they write beside this one, says nothing."""
    await migrate(engine, migrations_below("0018", tmp_path), "metering service")
    older = insert(table("requests", *map(column, NOW)))
    async with engine.begin() as connection:
        await connection.execute(older.values(NOW))
    await migrate(engine, MIGRATIONS, "metering service")
    async with engine.begin() as connection:
        await connection.execute(older.values({**NOW, "request_id": "r2"}))
    await migrate(engine, str(tmp_path), "metering service")
    records = await SqlUsageReader(engine).list_requests(SERVICE, None, 10)
    assert [(record.request_id, record.told) for record in records] == [("r1", None), ("r2", None)]
