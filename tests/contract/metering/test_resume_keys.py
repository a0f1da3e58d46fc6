"""The keys of resume tokens, on both databases."""

import asyncio
import itertools
import logging

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.key_ring import SECRET_BYTES, ResumeKey
from metering_service.domain.pot import HeldUnits
from metering_service.domain.price import Price
from metering_service.domain.resume_token import ResumeToken
from metering_service.domain.stamp import Stamp
from metering_service.storage import SqlPurgeStore, SqlRecorder
from metering_service.usecases.lookups.resume_keys import ResumeKeys
from tallygate._server.clock import ManualClock

CONTENT = ResumeToken("a.1.1", "a", "", 1, 5, 0, 0, False, HeldUnits(1, 2), Price(1, 2, 3, 4, 5, 6), Stamp())
SECRET = b"\0a secret\xff" + b"." * 22


async def test_a_key_is_kept_as_it_was_entered_first(recorder: SqlRecorder) -> None:
    """Every byte of it; another one of its number is not."""
    assert await recorder.resume_keys() == []
    await recorder.add_resume_key(ResumeKey(1, 5, SECRET))
    await recorder.add_resume_key(ResumeKey(1, 6, b"another"))
    await recorder.add_resume_key(ResumeKey(2, 7, b"next"))
    assert await recorder.resume_keys() == [ResumeKey(1, 5, SECRET), ResumeKey(2, 7, b"next")]


async def test_of_keys_that_are_entered_at_once_all_see_the_one_that_is_kept(database: AsyncEngine) -> None:
    """Whoever has entered one, or could not, sees it when it reads."""
    recorders = [SqlRecorder(database, lambda: "id") for _ in range(6)]

    async def enter(number: int) -> list[ResumeKey]:
        await recorders[number].add_resume_key(ResumeKey(1, number, bytes([number])))
        return await recorders[number].resume_keys()

    seen = await asyncio.gather(*map(enter, range(6)))
    assert len(seen[0]) == 1
    assert all(keys == seen[0] for keys in seen)


async def test_a_key_goes_when_the_second_after_it_is_old(database: AsyncEngine, recorder: SqlRecorder) -> None:
    """The last two stay, however old: a node that starts signs with the one before the last."""
    for number in (1, 2, 3, 4):
        await recorder.add_resume_key(ResumeKey(number, number * 100, b"x"))
    store = SqlPurgeStore(database)
    assert [await store.purge_resume_keys(before_us) for before_us in (200, 300, 301, 301)] == [0, 0, 1, 0]
    assert [key.number for key in await recorder.resume_keys()] == [2, 3, 4]
    assert await store.purge_resume_keys(10_000) == 1
    assert [key.number for key in await recorder.resume_keys()] == [3, 4]


async def test_no_error_and_no_log_repeats_a_key(
    database: AsyncEngine, recorder: SqlRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a table that is not as it should be, for example."""
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE resume_keys RENAME TO elsewhere"))
    with caplog.at_level(logging.DEBUG), pytest.raises(DBAPIError) as raised:
        await recorder.add_resume_key(ResumeKey(1, 5, b"topsecret"))
    error: BaseException | None = raised.value
    while error is not None:
        assert "topsecret" not in str(error)
        error = error.__cause__
    assert "topsecret" not in caplog.text
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE elsewhere RENAME TO resume_keys"))


async def test_nodes_of_one_database_read_each_others_tokens_also_after_a_restart(database: AsyncEngine) -> None:
    """Of the first day and of the next; and those of another database not."""
    clock, numbers = ManualClock(), itertools.count()

    async def start() -> ResumeKeys:
        keys = ResumeKeys(SqlRecorder(database, lambda: "id"), clock, lambda: bytes([next(numbers)]) * SECRET_BYTES)
        await keys.read()
        return keys

    first, second = await asyncio.gather(start(), start())
    token = first.ring.sign("uid", "r1", CONTENT.encode())
    assert second.ring.read("uid", "r1", token) == CONTENT
    lacked = []
    for _ in range(2):
        clock.advance(seconds=86_400)
        again = await start()
        assert again.ring.read("uid", "r1", token) == CONTENT
        new = again.ring.sign("uid", "r1", CONTENT.encode())
        lacked.append(first.ring.lacks(new))
        await first.read_again()
        assert first.ring.read("uid", "r1", new) == CONTENT
    assert lacked == [False, True]
    assert len(await SqlRecorder(database, lambda: "id").resume_keys()) == 3
