"""Engines over both databases: what a transaction means, and what URLs are taken."""

import asyncio
import re
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.database import engine as engines
from tallygate._server.database.engine import create_engine, migrate, read_only
from tallygate._server.database.url import normalise_url
from tallygate._server.errors import ConfigurationError, DatabaseError

READ = text("SELECT n FROM counters WHERE id = 1")
READ_FOR_UPDATE = {"sqlite": READ, "postgresql": text("SELECT n FROM counters WHERE id = 1 FOR UPDATE")}
WRITE = text("UPDATE counters SET n = :n WHERE id = 1")


async def create_counter(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE counters (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"))
        await connection.execute(text("INSERT INTO counters VALUES (1, 0)"))


async def count_up(engine: AsyncEngine, times: int) -> None:
    for _ in range(times):
        async with engine.begin() as connection:
            n = (await connection.execute(READ_FOR_UPDATE[engine.dialect.name])).scalar_one()
            await connection.execute(WRITE, {"n": n + 1})


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("sqlite:///some/file", "sqlite+aiosqlite:///some/file"),
        ("sqlite:////some/file", "sqlite+aiosqlite:////some/file"),
        ("sqlite+aiosqlite:///file", "sqlite+aiosqlite:///file"),
        ("postgres://u:p@h:1/d", "postgresql+asyncpg://u:p@h:1/d"),
        ("postgresql://u:p@h:1/d", "postgresql+asyncpg://u:p@h:1/d"),
        ("postgresql+asyncpg://u:p@h:1/d", "postgresql+asyncpg://u:p@h:1/d"),
    ],
)
def test_url_gets_the_driver_that_is_there(url: str, normal: str) -> None:
    """People write the database's name; the driver is this program's affair."""
    assert normalise_url(url) == normal


@pytest.mark.parametrize(
    "url",
    ["", "file.sqlite3", "mysql://u:secret@h/d", "sqlite://", "sqlite:///:memory:", "postgresql://u:secret@h:port/d"],
)
def test_url_that_cannot_work_is_refused_without_its_password(url: str) -> None:
    """The sentence says what to write, and does not repeat what may be secret."""
    with pytest.raises(ConfigurationError, match="write sqlite:///PATH") as caught:
        normalise_url(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


SECRETS = [
    "pQ@Zq/wQ:Xk",
    "pQ@Zq",
    "@",
    "aQ/bQ@cQ",
    "pQ@Zq?xQ=yQ",
    "pQ@Zq#xQ",
    "pQ@Zq:w0Q",
    "pQ?xQ@yQ",
    "pQ@hQ?aQ=bQ",
    "sQ@@tQ",
    "pQ@Zq%zQ",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("rest", ["h:5432/d", "127.0.0.1/d", "[::1]:5432/d?ssl=require", "/d?host=/run/postgresql"])
def test_a_password_that_ends_early_is_refused_and_not_repeated(secret: str, rest: str) -> None:
    """It has an @ of its own: what is behind that would be taken for a host or a database, which errors name."""
    with pytest.raises(ConfigurationError) as caught:
        normalise_url(f"postgresql://u:{secret}@{rest}")
    told = [str(caught.value), str(caught.value.__cause__)]
    parts = [part for part in re.split("[@/:?#=]", secret) if len(part) > 1]
    assert not [part for part in parts for text in told if part in text.removesuffix("HOST:PORT/DATABASE.")]
    assert "\n" not in told[0]


@pytest.mark.parametrize("secret", ["p/w", "p:w", "p?w", "p#w", "p%w", "p%zz", "p%40w", "p w", "pä"])
def test_other_special_characters_of_a_password_are_its_own(secret: str) -> None:
    """As SQLAlchemy reads them; an @ is written as %40."""
    read = make_url(normalise_url(f"postgresql://u@corp:{secret}@h:1/d"))
    assert (read.username, read.password, read.host, read.database) == ("u@corp", unquote(secret), "h", "d")


@pytest.mark.parametrize("query", ["a=b@secret", "secret@h/d", "secret=b@h/d"])
def test_what_may_be_the_end_of_a_password_is_not_repeated(query: str) -> None:
    """There is another @ behind it."""
    with pytest.raises(ConfigurationError) as caught:
        normalise_url(f"postgresql://u:p@h/d?{query}")
    assert "secret" not in str(caught.value)


async def test_errors_of_the_database_name_no_password() -> None:
    """Wherever it is written in the URL."""
    for url in ("postgresql://u:s3cret@127.0.0.1:1/d", "postgresql://127.0.0.1:1/d?user=u&password=s3cret"):
        engine = create_engine(url)
        assert "s3cret" not in repr(engine)
        with pytest.raises(DatabaseError) as caught:
            await migrate(engine, "control_service:storage/migrations", "control service")
        text_of = "".join(traceback.format_exception(caught.value))
        assert "s3cret" not in text_of
        await engine.dispose()


async def test_no_update_is_lost_between_two_programs(
    patient_databases: None, engine: AsyncEngine, database_url: str
) -> None:
    """Read-modify-write transactions of two engines with several writers each add up exactly."""
    await create_counter(engine)
    other = create_engine(database_url)
    await asyncio.gather(*(count_up(each, 10) for each in (engine, other) for _ in range(3)))
    await other.dispose()
    async with read_only(engine) as connection:
        assert (await connection.execute(READ)).scalar_one() == 60


async def test_a_reader_sees_one_moment_and_stops_no_writer(engine: AsyncEngine) -> None:
    """A commit in the middle of a reading transaction goes through at once and stays invisible to it."""
    await create_counter(engine)
    async with read_only(engine) as reader:
        before = (await reader.execute(READ)).scalar_one()
        async with engine.begin() as writer:
            await writer.execute(WRITE, {"n": 9})
        assert (await reader.execute(READ)).scalar_one() == before
    async with read_only(engine) as reader:
        assert (await reader.execute(READ)).scalar_one() == 9


async def test_a_transaction_that_fails_leaves_nothing(engine: AsyncEngine) -> None:
    """What was written before the exception is gone, and the engine goes on."""
    await create_counter(engine)
    with pytest.raises(RuntimeError, match="half-way"):
        async with engine.begin() as connection:
            await connection.execute(WRITE, {"n": 9})
            raise RuntimeError("half-way")
    async with engine.begin() as connection:
        assert (await connection.execute(READ)).scalar_one() == 0


async def test_sqlite_is_set_up_to_survive_a_power_cut(tmp_path: Path) -> None:
    """A missing directory is made; the journal is a WAL, fully synchronous; foreign keys hold."""
    engine = create_engine(f"sqlite:///{tmp_path}/not/yet/there/test.sqlite3")
    async with read_only(engine) as connection:
        pragmas = [
            (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    await engine.dispose()
    assert pragmas == ["wal", 2, 1, 10_000]


async def test_sqlite_writer_gives_up_on_a_lock_that_never_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once another program has held the write lock for the busy timeout, the writer fails, and works again after."""
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_S", 0.05)
    holder, waiter = (create_engine(f"sqlite:///{tmp_path}/test.sqlite3") for _ in range(2))
    await create_counter(holder)
    async with holder.begin():
        with pytest.raises(OperationalError, match="locked"):
            await count_up(waiter, 1)
    await count_up(waiter, 1)
    await holder.dispose()
    await waiter.dispose()


def locked_by_another_program(path: Path) -> sqlite3.Connection:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    return holder


def test_sqlite_file_that_another_program_sets_up_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite does not wait by itself where two programs turn one new file to WAL."""
    path = tmp_path / "test.sqlite3"
    holder = locked_by_another_program(path)
    monkeypatch.setattr("time.sleep", lambda _: holder.execute("COMMIT"))
    create_engine(f"sqlite:///{path}")
    assert holder.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    holder.close()


def test_sqlite_file_that_another_program_never_lets_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said once the busy timeout is over."""
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "test.sqlite3"
    with closing(locked_by_another_program(path)), pytest.raises(DatabaseError, match="locked by another program"):
        create_engine(f"sqlite:///{path}")


def test_sqlite_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way of the directory is named."""
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseError, match=r'The directory ".*file/data" cannot be made \(Not a directory\)'):
        create_engine(f"sqlite:///{tmp_path}/file/data/test.sqlite3")
