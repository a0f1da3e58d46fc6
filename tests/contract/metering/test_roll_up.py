"""Old sums are by hour, then by day, and no sum of whole hours or days ever changes on the way there."""

import random

import pytest
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.errors import InvalidRequestError
from metering_service.domain.resolution import DAY_US, KEPT_FINER_US
from metering_service.domain.stamp import HOUR_US
from metering_service.storage import SqlRecorder, SqlRollUpStore, SqlUsageReader, roll_up
from metering_service.storage.schema import minute_denials, minute_usage
from metering_service.usecases.ports import UsageQuery, UsageRow
from metering_service.usecases.upkeep.roll_up import RollUp
from tallygate._server.clock import ManualClock
from tests.harness.metering.records import MINUTE_US, NODE, NOON_US, batch, denial, usage

MIDNIGHT_US = NOON_US // DAY_US * DAY_US
SINCE_NOON = (MIDNIGHT_US - NOON_US) // MINUTE_US
"""Midnight in minutes after noon, as records count them."""
OTHER = "accounts/globex/services/chat"
HOURS_DUE_US, DAYS_DUE_US = (MIDNIGHT_US + DAY_US + KEPT_FINER_US[step_us] for step_us in (HOUR_US, DAY_US))
"""When that day is to be kept by hour, and by day."""


def roller(database: AsyncEngine, now_us: int) -> RollUp:
    return RollUp(SqlRollUpStore(database), ManualClock(now_us))


async def run(rolls: RollUp) -> None:
    while await rolls.step():
        pass


async def write(recorder: SqlRecorder, *parts: object) -> None:
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, *parts))


async def sums(
    reader: SqlUsageReader, step_us: int | None = DAY_US, *, start_us: int = MIDNIGHT_US, end_us: int | None = None
) -> list[UsageRow]:
    """All there is of three days, as finely grouped as can be."""
    return await reader.query_usage(
        UsageQuery(
            start_us,
            MIDNIGHT_US + 3 * DAY_US if end_us is None else end_us,
            step_us,
            ("accounts/acme", "accounts/globex"),
            None,
            (),
            ("service", "service_uid", "team", "key_team", "credential", "label:env"),
        )
    )


async def times(database: AsyncEngine, name: str = "minute_us") -> set[int]:
    """Times of the rows that are left."""
    async with database.begin() as connection:
        found = set((await connection.scalars(select(minute_usage.c[name]))).all())
        if name in minute_denials.c:
            found |= set((await connection.scalars(select(minute_denials.c[name]))).all())
    return found


def cells(seed: int) -> list[object]:
    """Usage and denials of three days from midnight, each cell once."""
    chance = random.Random(seed)
    found: dict[object, object] = {}
    for _ in range(150):
        minute = chance.choice((chance.randrange(3 * 24 * 60), chance.randrange(90), 0, 60))
        who = {"service": chance.choice((OTHER, "accounts/acme/services/chat")), "team": chance.choice(("", "red"))}
        hour_us = MIDNIGHT_US + (minute // 60 - chance.randrange(30)) * HOUR_US
        labels = chance.choice(((), (("env", "prod"),)))
        for cell in (
            usage(SINCE_NOON + minute, chance.randrange(10**12), labels=labels, hour_us=hour_us, **who),
            denial(SINCE_NOON + minute, chance.randrange(9), chance.choice(("SUSPENDED", "NO_PRICE")), **who),
        ):
            found[cell[0]] = cell
    return list(found.values())


@pytest.mark.parametrize("seed", range(3))
async def test_sums_stay_in_any_order_and_wherever_it_is_interrupted(
    database: AsyncEngine,
    recorder: SqlRecorder,
    reader: SqlUsageReader,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """Nodes that begin anew, at other times, by clocks that differ: after each step every sum is what it was."""
    monkeypatch.setattr(roll_up, "ROWS", 7)
    chance = random.Random(seed)
    await write(recorder, *cells(seed))
    by_day, by_hour = await sums(reader), await sums(reader, HOUR_US)
    assert by_hour
    moments_us = (HOURS_DUE_US, HOURS_DUE_US + 2 * DAY_US, DAYS_DUE_US, DAYS_DUE_US + DAY_US)
    nodes = [roller(database, moment_us) for moment_us in moments_us]
    for _ in range(60):
        place = chance.randrange(len(nodes))
        if chance.random() < 0.2:
            nodes[place] = roller(database, moments_us[place])
        await nodes[place].step()
        assert await sums(reader) == by_day
    last_us = DAYS_DUE_US + 2 * DAY_US
    await run(roller(database, last_us))
    assert await sums(reader) == by_day
    assert await times(database) <= {MIDNIGHT_US + day * DAY_US for day in range(3)}


async def test_minutes_become_hours_when_they_are_old(
    database: AsyncEngine, recorder: SqlRecorder, reader: SqlUsageReader
) -> None:
    """A day at a time, once all of it is; and the sums of hours are what they were."""
    await write(recorder, *cells(4))
    by_hour, minutes = await sums(reader, HOUR_US), await times(database)
    await run(roller(database, HOURS_DUE_US - 1))
    assert await times(database) == minutes
    await run(roller(database, HOURS_DUE_US))
    left = await times(database)
    tomorrow_us = MIDNIGHT_US + DAY_US
    assert {time_us for time_us in left if time_us >= tomorrow_us} == {t for t in minutes if t >= tomorrow_us}
    assert {time_us for time_us in left if time_us < tomorrow_us} == {
        t // HOUR_US * HOUR_US for t in minutes if t < tomorrow_us
    }
    assert await sums(reader, HOUR_US) == by_hour


async def test_minutes_may_be_kept_for_less(
    database: AsyncEngine, recorder: SqlRecorder, reader: SqlUsageReader
) -> None:
    """So that months of many services are read quickly; a day at least."""
    await write(recorder, *cells(6))
    by_hour = await sums(reader, HOUR_US)
    clock = ManualClock(MIDNIGHT_US + 2 * DAY_US)
    await run(RollUp(SqlRollUpStore(database), clock, minutes_kept_us=DAY_US))
    assert all(time_us % HOUR_US == 0 for time_us in await times(database) if time_us < MIDNIGHT_US + DAY_US)
    assert any(time_us % HOUR_US for time_us in await times(database))
    assert await sums(reader, HOUR_US) == by_hour


async def test_hours_become_days_and_so_do_those_of_authorisation(
    database: AsyncEngine, recorder: SqlRecorder, reader: SqlUsageReader
) -> None:
    """By whichever way they came."""
    late = usage(SINCE_NOON + 60, 5, hour_us=MIDNIGHT_US - HOUR_US)
    await write(recorder, usage(SINCE_NOON + 61, 1, hour_us=MIDNIGHT_US + HOUR_US), late, denial(SINCE_NOON + 61, 2))
    by_day = await sums(reader)
    await run(roller(database, HOURS_DUE_US))
    assert await times(database) == {MIDNIGHT_US + HOUR_US}
    await run(roller(database, DAYS_DUE_US))
    assert await times(database) == {MIDNIGHT_US}
    assert await times(database, "hour_us") == {MIDNIGHT_US - DAY_US, MIDNIGHT_US}
    assert await sums(reader) == by_day


async def test_what_is_finer_than_what_is_left_is_refused(
    database: AsyncEngine, recorder: SqlRecorder, reader: SqlUsageReader
) -> None:
    """With a sentence, once the first row may have been rolled up. Whole hours, and what is younger, are served."""
    await write(recorder, *cells(5))
    assert await sums(reader, MINUTE_US, start_us=MIDNIGHT_US + MINUTE_US)
    rolls = roller(database, HOURS_DUE_US)
    await rolls.step()
    tomorrow_us = MIDNIGHT_US + DAY_US
    with pytest.raises(
        InvalidRequestError, match=r"start_time.*whole hour of UTC, such as .*T00:00:00Z, because usage"
    ):
        await sums(reader, None, start_us=MIDNIGHT_US + MINUTE_US)
    with pytest.raises(InvalidRequestError, match="end_time"):
        await sums(reader, None, end_us=tomorrow_us - MINUTE_US)
    with pytest.raises(InvalidRequestError, match=r"step.*whole hours, or the range begin later"):
        await sums(reader, 90 * MINUTE_US)
    assert await sums(reader, MINUTE_US, start_us=tomorrow_us, end_us=tomorrow_us + 7 * MINUTE_US) is not None
    assert await sums(reader, None, end_us=tomorrow_us + 7 * MINUTE_US)
    await run(roller(database, DAYS_DUE_US))
    with pytest.raises(InvalidRequestError, match="whole day"):
        await sums(reader, None, start_us=MIDNIGHT_US + HOUR_US)


async def test_what_was_rolled_up_is_not_looked_at_again(database: AsyncEngine, recorder: SqlRecorder) -> None:
    """Each day once; a wall clock that was set back begins nothing earlier."""
    await write(recorder, usage(SINCE_NOON + 61, 1))
    await run(roller(database, HOURS_DUE_US))
    store, tomorrow_us = SqlRollUpStore(database), MIDNIGHT_US + DAY_US
    for before_us in (tomorrow_us, tomorrow_us - DAY_US):
        span = await store.begin_roll_up(HOUR_US, before_us)
        assert (span.start_us, span.end_us) == (tomorrow_us, tomorrow_us)
    later_us = tomorrow_us + 9 * DAY_US
    await store.begin_roll_up(DAY_US, later_us)
    assert (await store.begin_roll_up(HOUR_US, later_us + DAY_US)).start_us == later_us


async def test_a_clock_that_jumps_ahead_rolls_nothing_up(database: AsyncEngine, recorder: SqlRecorder) -> None:
    """What was rolled up has no minutes any more, so a wall clock alone decides nothing."""
    await write(recorder, usage(SINCE_NOON + 61, 1))
    minutes = await times(database)
    clock = ManualClock(NOON_US + DAY_US)
    rolls = RollUp(SqlRollUpStore(database), clock)
    clock.jump(us=2 * KEPT_FINER_US[DAY_US])
    await run(rolls)
    assert await times(database) == minutes


async def test_many_services_are_looked_at_with_one_query(database: AsyncEngine, recorder: SqlRecorder) -> None:
    """Of each table, for fifty of them: a node of which many services are known goes through all of them every day."""
    services = [f"accounts/acme/services/s{number:03d}" for number in range(60)]
    await write(recorder, *(usage(SINCE_NOON, 1, service=name) for name in services))
    said: list[str] = []
    event.listen(
        database.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: said.append(statement),
    )
    await run(roller(database, HOURS_DUE_US - 1))
    assert 0 < sum("minute_usage" in statement for statement in said) <= len(services) // 10
