"""What the recorder says when the database does not answer, and that a repeat then is safe."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service.domain.errors import StorageUnavailableError
from metering_service.storage import MIGRATIONS, SqlRecorder, SqlUsageReader
from metering_service.storage.fenced_commit import SqliteWriter
from metering_service.usecases.ports import RequestName
from tallygate._server.database.engine import create_engine, migrate, sqlite_connector
from tests.harness.metering.records import NODE, SERVICE, batch, denial, settled_request, total_output, usage

NAMES = [RequestName(SERVICE, "r1"), RequestName(SERVICE, "r2")]


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """A SQLite database whose writers do not wait for the lock."""
    engine = create_engine(f"sqlite:///{tmp_path / 'busy.sqlite3'}")
    event.listen(
        engine.sync_engine, "connect", lambda connection, _record: connection.execute("PRAGMA busy_timeout = 0")
    )
    await migrate(engine, MIGRATIONS, "metering service")
    yield engine
    await engine.dispose()


async def test_a_locked_sqlite_database_is_unavailable(impatient: AsyncEngine, tmp_path: Path) -> None:
    """Another program holds the lock: nothing is written, and the same batch succeeds later."""
    connect = sqlite_connector(impatient)

    def connect_impatiently() -> sqlite3.Connection:
        connection = connect()
        connection.execute("PRAGMA busy_timeout = 0")
        return connection

    recorder = SqlRecorder(impatient, lambda: "id", SqliteWriter(connect_impatiently))
    reader = SqlUsageReader(impatient)
    epoch = await recorder.register_node(NODE)
    other = create_engine(f"sqlite:///{tmp_path / 'busy.sqlite3'}")
    async with other.begin():
        with pytest.raises(StorageUnavailableError, match="locked"):
            await recorder.commit(NODE, epoch, batch(1, usage(0, output=5)))
        assert await total_output(reader) == 0
    await other.dispose()
    await recorder.commit(NODE, epoch, batch(1, usage(0, output=5)))
    assert await total_output(reader) == 5


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_a_connection_cut_by_postgresql_is_unavailable(database: AsyncEngine) -> None:
    """The server ends the session under the commit: the outcome is not known, and the same batch succeeds later."""
    recorder, reader = SqlRecorder(database, lambda: "id"), SqlUsageReader(database)
    epoch = await recorder.register_node(NODE)

    async def end_session(connection: asyncpg.Connection) -> None:
        killer = await asyncpg.connect(database.url.set(drivername="postgresql").render_as_string(False))
        await killer.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        await killer.close()

    @event.listens_for(database.sync_engine, "commit", once=True)
    def cut(connection: object) -> None:
        adapted = connection.connection.dbapi_connection  # type: ignore[attr-defined]
        adapted.run_async(end_session)

    with pytest.raises(StorageUnavailableError):
        await recorder.commit(NODE, epoch, batch(1, usage(0, output=5)))
    await recorder.commit(NODE, epoch, batch(1, usage(0, output=5)))
    assert await total_output(reader) == 5


async def test_a_postgresql_that_is_not_there_is_unavailable() -> None:
    """A refused connection is an outage, not a mistake."""
    engine = create_engine("postgresql://nobody@127.0.0.1:1/nothing")
    recorder = SqlRecorder(engine, lambda: "id")
    with pytest.raises(StorageUnavailableError):
        await recorder.register_node(NODE)
    with pytest.raises(StorageUnavailableError):
        await recorder.first_booked_us(NAMES)
    await engine.dispose()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_a_look_up_that_postgresql_cuts_off_is_unavailable(database: AsyncEngine) -> None:
    """The same look-up is answered later, by another connection."""
    recorder = SqlRecorder(database, lambda: "id")
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, settled_request("r1", booked_us=7)))
    assert await recorder.first_booked_us(NAMES) == {NAMES[0]: 7}
    killer = await asyncpg.connect(database.url.set(drivername="postgresql").render_as_string(False))
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    await killer.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")  # noqa: S608
    await killer.close()
    with pytest.raises(StorageUnavailableError):
        await recorder.first_booked_us(NAMES)
    assert await recorder.first_booked_us(NAMES) == {NAMES[0]: 7}


async def test_a_batch_whose_answer_was_lost_is_written_once(database: AsyncEngine) -> None:
    """The commit happened but nobody heard of it: the repeat, by another recorder even, adds nothing."""
    epoch = await SqlRecorder(database, lambda: "id").register_node(NODE)
    for _ in range(2):
        await SqlRecorder(database, lambda: "id").commit(NODE, epoch, batch(1, usage(0, output=5)))
    assert await total_output(SqlUsageReader(database)) == 5


async def test_a_batch_that_fails_half_way_leaves_nothing(database: AsyncEngine) -> None:
    """An error before the commit takes back the whole batch, its number too; mistakes are not called outages."""
    recorder, reader = SqlRecorder(database, lambda: "id"), SqlUsageReader(database)
    epoch = await recorder.register_node(NODE)
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE minute_denials RENAME TO hidden"))
    parts = (usage(0, output=5), denial(0, 1))
    with pytest.raises((sqlite3.OperationalError, asyncpg.UndefinedTableError)):
        await recorder.commit(NODE, epoch, batch(1, *parts))
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE hidden RENAME TO minute_denials"))
    assert await total_output(reader) == 0
    await recorder.commit(NODE, epoch, batch(1, *parts))
    assert await total_output(reader) == 5


@pytest.mark.parametrize("other", [False, True])
async def test_a_sqlite_file_that_was_moved_away_takes_no_commit(tmp_path: Path, *, other: bool) -> None:
    """Also where another file is in its place; with the file's return the same batch is written once."""
    path = tmp_path / "metering.sqlite3"
    engine = create_engine(f"sqlite:///{path}")
    await migrate(engine, MIGRATIONS, "metering service")
    recorder = SqlRecorder(engine, lambda: "id")
    epoch = await recorder.register_node(NODE)
    await recorder.commit(NODE, epoch, batch(1, usage(0, output=5)))
    away = path.rename(tmp_path / "away")
    if other:
        shutil.copy(away, path)
    for _ in range(2):
        with pytest.raises(StorageUnavailableError, match=r"file .*metering\.sqlite3.* put"):
            await recorder.commit(NODE, epoch, batch(2, usage(0, output=7)))
        with pytest.raises(StorageUnavailableError, match=r"file .*metering\.sqlite3.* put"):
            await recorder.first_booked_us(NAMES)
    assert path.exists() == other
    away.rename(path)
    await recorder.commit(NODE, epoch, batch(2, usage(0, output=7)))
    assert await total_output(SqlUsageReader(engine)) == 12
    await recorder.close()
    await engine.dispose()
