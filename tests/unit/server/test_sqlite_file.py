"""A SQLite database whose files are moved away while they are in use."""

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.database.engine import create_engine, read_only, sqlite_connector, sqlite_file
from tallygate._server.database.sqlite_file import FileMovedError
from tallygate._server.process.readiness import Readiness

Harm = Callable[[Path], Callable[[], object]]
"""Does something to a database's file, and gives what undoes it."""


def moved(path: Path) -> Callable[[], object]:
    away = path.rename(path.with_name("away"))
    return lambda: away.rename(path)


def without_directory(path: Path) -> Callable[[], object]:
    away = path.parent.rename(path.parent.with_name("away"))
    return lambda: away.rename(path.parent)


def replaced(path: Path) -> Callable[[], object]:
    undo = moved(path)
    shutil.copy(path.with_name("away"), path)
    return undo


def log_moved(path: Path) -> Callable[[], object]:
    return moved(path.with_name(f"{path.name}-wal"))


def is_there(path: Path) -> bool:
    return path.exists()


HARMS = (moved, without_directory, replaced, log_moved)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "books.sqlite3"


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[AsyncEngine]:
    """A database with one empty table."""
    engine = create_engine(f"sqlite:///{path}")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE lines (number INTEGER)"))
    yield engine
    await engine.dispose()


async def write(engine: AsyncEngine, number: int) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO lines VALUES (:number)"), {"number": number})


async def read(engine: AsyncEngine) -> list[int]:
    async with read_only(engine) as connection:
        return list(await connection.scalars(text("SELECT number FROM lines ORDER BY 1")))


@pytest.mark.parametrize("harm", HARMS)
async def test_nothing_is_read_or_written_until_the_file_is_back(engine: AsyncEngine, path: Path, harm: Harm) -> None:
    """One sentence names the file; nothing is made in its place; what was committed is there when it is put back."""
    await write(engine, 1)
    undo = harm(path)
    for attempt in (write(engine, 2), read(engine)):
        with pytest.raises(FileMovedError, match=r"^(the|another) file .*/books\.sqlite3(-wal)?\".* put"):
            await attempt
    assert is_there(path) == (harm in (replaced, log_moved))
    undo()
    await write(engine, 4)
    assert await read(engine) == [1, 4]


@pytest.mark.parametrize("harm", HARMS)
async def test_a_commit_into_a_file_that_was_moved_meanwhile_is_not_called_committed(
    engine: AsyncEngine, path: Path, harm: Harm
) -> None:
    """Nobody is told that it is durable: whether it is depends on whether the file comes back."""
    async with engine.connect() as keeps_it_open:
        with pytest.raises(FileMovedError):
            async with engine.begin() as connection:
                await connection.execute(text("INSERT INTO lines VALUES (1)"))
                undo = harm(path)
        undo()
        assert await read(engine) == [1]
        await keeps_it_open.rollback()


async def test_a_link_that_leads_to_another_file_is_noticed(tmp_path: Path) -> None:
    """After the next start that one would be used."""
    real, link = tmp_path / "real.sqlite3", tmp_path / "link.sqlite3"
    link.symlink_to(real)
    engine = create_engine(f"sqlite:///{link}")
    await write_first(engine)
    link.unlink()
    link.symlink_to(shutil.copy(real, tmp_path / "copy.sqlite3"))
    with pytest.raises(FileMovedError, match="another file"):
        await read(engine)
    await engine.dispose()


async def write_first(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE lines (number INTEGER)"))


async def test_an_engine_whose_connections_were_closed_begins_another_log(engine: AsyncEngine) -> None:
    """SQLite deletes the log with the last connection; that is no harm."""
    await engine.dispose()
    await write(engine, 1)
    assert await read(engine) == [1]


async def test_a_connector_makes_no_file_in_place_of_one_that_is_gone(engine: AsyncEngine, path: Path) -> None:
    """Who opens connections by themselves asks first."""
    connect = sqlite_connector(engine)
    undo = moved(path)
    with pytest.raises(FileMovedError):
        sqlite_file(engine).check()
    with pytest.raises(FileMovedError):
        connect()
    assert not is_there(path)
    undo()
    connect().close()


async def test_readiness_is_lost_with_the_file(engine: AsyncEngine, path: Path) -> None:
    """And back with it."""
    said: list[bool] = []
    readiness = Readiness(engine, lambda answers: {"name": answers}, lambda ready: said.append(ready["name"]))
    await readiness.look()
    undo = moved(path)
    await readiness.look()
    undo()
    await readiness.look()
    assert said == [True, False, True]
