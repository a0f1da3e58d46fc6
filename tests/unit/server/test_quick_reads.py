"""Quick reads: small reads beside an engine's pool, and what tells that nothing was committed."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.database.engine import create_engine, quick_reads
from tallygate._server.database.quick_reads import SqliteReads
from tallygate._server.database.sqlite_file import FileMovedError, SqliteFile
from tests.harness.patience import PATIENCE_S
from tests.harness.postgres import fresh_database

COUNT = "SELECT count(*) FROM lines"


@asynccontextmanager
async def made(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE IF NOT EXISTS lines (number INTEGER)"))
        yield engine
    finally:
        await engine.dispose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.sqlite3"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[AsyncEngine]:
    async with made(f"sqlite:///{path}") as engine:
        yield engine


@pytest.fixture(params=["sqlite", "postgresql"])
async def either(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[AsyncEngine]:
    if request.param == "sqlite":
        async with made(f"sqlite:///{path}") as engine:
            yield engine
        return
    async with fresh_database(request.getfixturevalue("postgres_url")) as url, made(url) as engine:
        yield engine


async def write(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO lines VALUES (1)"))


async def test_a_read_sees_what_was_committed_before_it(either: AsyncEngine) -> None:
    """Again and again on one connection, which keeps no old moment open."""
    reads = quick_reads(either)
    for count in range(3):
        assert await reads.rows(COUNT, COUNT) == [[(count,)], [(count,)]]
        await write(either)
    await reads.answer()


async def test_a_query_has_values(either: AsyncEngine) -> None:
    """Each in its place, as the driver marks it, and never a part of the query."""
    query = "SELECT number, $2::text FROM lines WHERE number = $1"
    if either.dialect.name == "sqlite":
        query = "SELECT number, ?2 FROM lines WHERE number = ?1"
    await write(either)
    for wanted, there in ((1, [(1, "'; --")]), (2, [])):
        assert await quick_reads(either).found(query, (wanted, "'; --")) == there


async def test_reads_at_the_same_time_wait_for_each_other(either: AsyncEngine) -> None:
    """A connection answers one question at a time."""
    answers = await asyncio.gather(*(quick_reads(either).rows(f"SELECT {number}") for number in range(5)))
    assert answers == [[[(number,)]] for number in range(5)]


async def test_a_read_that_fails_is_not_the_last(either: AsyncEngine) -> None:
    """What comes after it begins anew."""
    with pytest.raises(Exception, match="nowhere"):
        await quick_reads(either).rows("SELECT 1 FROM nowhere")
    assert await quick_reads(either).rows(COUNT) == [[(0,)]]


async def test_a_read_that_nobody_waits_for_leaves_its_answer_to_nobody(either: AsyncEngine) -> None:
    """The next one has its own."""
    reads = quick_reads(either)
    await reads.answer()
    task = asyncio.create_task(reads.rows("SELECT 1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await reads.rows("SELECT 2") == [[(2,)]]


async def test_reads_do_not_wait_for_what_keeps_the_threads_of_the_loop(either: AsyncEngine) -> None:
    """Looking up the name of a webhook's host may take many seconds, and so may any number of them at once."""
    is_over = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        slow = asyncio.create_task(asyncio.to_thread(is_over.wait))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.sleep(0)
                assert await quick_reads(either).rows(COUNT) == [[(0,)]]
        finally:
            is_over.set()
            await slow


class SlowConnection:
    """Answers when it is told to; notes what happens to it in the middle of a query."""

    def __init__(self) -> None:
        self.may_answer, self.has_begun, self.is_closed = threading.Event(), threading.Event(), threading.Event()
        self.is_reading = False
        self.disturbances: list[str] = []

    def execute(self, query: str, _values: object = ()) -> "SlowConnection":
        self._note(query)
        self.is_reading = True
        self.has_begun.set()
        assert self.may_answer.wait(PATIENCE_S)
        self.is_reading = False
        return self

    def fetchall(self) -> list[tuple[int]]:
        return []

    def close(self) -> None:
        self._note("close")
        self.is_closed.set()

    def _note(self, what: str) -> None:
        if self.is_reading:
            self.disturbances.append(what)


async def test_nothing_disturbs_a_thread_that_still_reads(path: Path) -> None:
    """Though nobody waits for its answer any more: the next read waits for it, and the thread closes what it uses."""
    path.touch()  # noqa: ASYNC240  # a file on a local disk
    slow = SlowConnection()
    reads = SqliteReads(lambda: slow, SqliteFile(path))  # type: ignore[arg-type, return-value]  # all that it uses
    task = asyncio.create_task(reads.rows("first"))
    assert await asyncio.to_thread(slow.has_begun.wait, PATIENCE_S)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    reads.close()
    following = asyncio.create_task(reads.rows("second"))
    await asyncio.to_thread(lambda: None)
    slow.may_answer.set()
    assert await following == [[]]
    reads.close()
    assert await asyncio.to_thread(slow.is_closed.wait, PATIENCE_S)
    assert slow.disturbances == []


async def test_reads_go_on_after_the_engine_was_disposed_of(either: AsyncEngine) -> None:
    """By a new connection, as those of the engine."""
    await quick_reads(either).rows(COUNT)
    await either.dispose()
    assert await quick_reads(either).rows(COUNT) == [[(0,)]]


async def test_a_stamp_changes_with_every_commit_and_with_nothing_else(engine: AsyncEngine, path: Path) -> None:
    """Of this program as of another; a read changes nothing."""
    reads = quick_reads(engine)
    stamps = [reads.stamp()]
    await reads.rows(COUNT)
    assert reads.stamp() == stamps[0]
    await write(engine)
    stamps.append(reads.stamp())
    async with made(f"sqlite:///{path}") as other:
        await write(other)
    stamps.append(reads.stamp())
    assert None not in stamps
    assert len(set(stamps)) == len(stamps)
    assert reads.stamp() == stamps[-1]
    await engine.dispose()
    assert reads.stamp() not in stamps


async def test_a_file_that_is_gone_gives_no_rows(engine: AsyncEngine, path: Path) -> None:
    """Nobody takes an old answer for a new one."""
    reads = quick_reads(engine)
    assert await reads.rows(COUNT) == [[(0,)]]
    away = path.rename(path.with_name("away"))  # noqa: ASYNC240  # a rename
    with pytest.raises(FileMovedError):
        await reads.rows(COUNT)
    with pytest.raises(FileMovedError):
        await reads.answer()
    away.rename(path)
    assert reads.stamp() is not None
    assert await reads.rows(COUNT) == [[(0,)]]
