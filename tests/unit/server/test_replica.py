"""A copy of a database for reading: asked while it is up to date, left while it is not."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from tallygate._server.database import replica as replicas
from tallygate._server.database.durability import warn_of_losses
from tallygate._server.database.engine import create_engine
from tallygate._server.database.replica import Replica, reading_of
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.postgres_cluster import PostgresServer, postgres_servers


@dataclass(frozen=True)
class Pair:
    leader: PostgresServer
    stand_by: PostgresServer
    database: AsyncEngine
    replica: Replica


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers() -> AsyncIterator[tuple[PostgresServer, PostgresServer]]:
    """A leader and its stand-by, which takes half a minute to make where a machine is busy."""
    with tempfile.TemporaryDirectory(prefix="tallygate-postgres-") as directory:  # read one by one
        async with postgres_servers(Path(directory), 2) as (leader, stand_by):
            await leader.begin()
            await stand_by.follow(leader)
            yield leader, stand_by


@pytest.fixture
async def pair(servers: tuple[PostgresServer, PostgresServer]) -> AsyncIterator[Pair]:
    leader, stand_by = servers
    database, copy = create_engine(leader.url()), create_engine(stand_by.url(), wanted="any", name="read_database")
    async with database.begin() as connection:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS lines (n INTEGER)"))
    yield Pair(leader, stand_by, database, Replica(database, copy))
    await database.dispose()
    await copy.dispose()


async def write(pair: Pair) -> None:
    async with pair.database.begin() as connection:
        # Without waiting for the stand-by, which need not have it yet.
        await connection.execute(text("SET LOCAL synchronous_commit = local"))
        await connection.execute(text("INSERT INTO lines VALUES (1)"))


async def read(pair: Pair, replica: Replica | None) -> tuple[int, bool]:
    """How many lines are seen, and whether a copy has answered."""
    async with reading_of(pair.database, replica) as connection:
        row = (await connection.execute(text("SELECT count(*), pg_is_in_recovery() FROM lines"))).one()
        return row[0], row[1]


async def on_stand_by(pair: Pair, statement: str) -> None:
    engine = create_engine(pair.stand_by.url(), wanted="any")
    async with engine.connect() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


async def test_what_is_read_is_what_was_committed_before(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the stand-by, each time."""
    monkeypatch.setattr(replicas, "LAG_MAX_S", PATIENCE_S)
    for _ in range(10):
        before, _ = await read(pair, None)
        await write(pair)
        assert await read(pair, pair.replica) == (before + 1, True)


async def test_a_copy_that_lags_is_left_until_it_has_caught_up(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database answers in its place, and the log says so once."""
    monkeypatch.setattr(replicas, "LAG_MAX_S", 0.05)
    before, _ = await read(pair, None)
    await on_stand_by(pair, "SELECT pg_wal_replay_pause()")
    try:
        with capture_logs() as lines:
            for number in range(1, 4):
                await write(pair)
                assert await read(pair, pair.replica) == (before + number, False)
    finally:
        await on_stand_by(pair, "SELECT pg_wal_replay_resume()")
    assert [(line["event"], line["of"]) for line in lines] == [("outage_began", "read_database")]
    monkeypatch.setattr(replicas, "LAG_MAX_S", PATIENCE_S)
    with capture_logs() as lines:
        assert await read(pair, pair.replica) == (before + 3, True)
    assert [line["event"] for line in lines] == ["outage_over"]


async def test_a_copy_that_is_not_there_is_left(pair: Pair) -> None:
    """So is one of which nobody has heard."""
    nowhere = create_engine("postgresql://postgres@127.0.0.1:1/nowhere", wanted="any", name="read_database")
    assert not (await read(pair, Replica(pair.database, nowhere)))[1]
    await nowhere.dispose()


async def test_settings_that_lose_commits_are_said_one_by_one(pair: Pair) -> None:
    """These servers were started without fsync, so that tests are quick."""
    with capture_logs() as lines:
        await warn_of_losses(pair.database)
    assert [(line["event"], line["setting"], line["log_level"]) for line in lines] == [
        ("not_durable", "fsync", "warning")
    ]


async def test_several_hosts_find_the_leader(pair: Pair, patient_databases: None) -> None:
    """In whichever order they are named."""
    places = [pair.stand_by.place, pair.leader.place]
    for hosts in (places, places[::-1]):
        engine = create_engine(f"postgresql://postgres@{','.join(hosts)}/postgres")
        reading = create_engine(f"postgresql://postgres@{','.join(hosts)}/postgres?target_session_attrs=prefer-standby")
        for each, is_stand_by in ((engine, False), (reading, True)):
            async with each.connect() as connection:
                assert (await connection.execute(text("SELECT pg_is_in_recovery()"))).scalar_one() is is_stand_by
            await each.dispose()
