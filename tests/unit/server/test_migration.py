"""Migrations at start, and the one sentence a person sees where they cannot run."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from tallygate._server.database.engine import create_engine, migrate, read_only
from tallygate._server.errors import DatabaseError
from tests.harness.postgres import fresh_database

REVISION = '''
"""A revision."""
from alembic import op

revision = {revision!r}
down_revision = {down_revision!r}

def upgrade():
    op.execute({statement!r})
'''
FIRST = "CREATE TABLE first (id INTEGER PRIMARY KEY)"
SECOND = "CREATE TABLE second (id INTEGER PRIMARY KEY)"


def scripts(directory: Path, *statements: str) -> str:
    """A script location with one revision for each statement."""
    versions = directory / "versions"
    versions.mkdir(parents=True)
    previous = None
    for number, statement in enumerate(statements, 1):
        revision = f"{number:04}"
        source = REVISION.format(revision=revision, down_revision=previous, statement=statement)
        (versions / f"{revision}.py").write_text(source)
        previous = revision
    return str(directory)


async def exists(engine: AsyncEngine, table: str) -> bool:
    try:
        async with read_only(engine) as connection:
            await connection.execute(text(f"SELECT * FROM {table}"))  # noqa: S608  # a name from this file
    except DBAPIError:
        return False
    return True


async def refusal(url: str, script_location: str) -> str:
    """The sentence with which the database is refused."""
    with pytest.raises(DatabaseError) as caught:
        engine = create_engine(url)
        try:
            await migrate(engine, script_location, "testd")
        finally:
            await engine.dispose()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


async def test_upgrades_from_nothing_and_from_an_older_revision(engine: AsyncEngine, tmp_path: Path) -> None:
    """Every start brings the database to the newest revision; a start that finds it there changes nothing."""
    await migrate(engine, scripts(tmp_path / "old", FIRST), "testd")
    assert not await exists(engine, "second")
    new = scripts(tmp_path / "new", FIRST, SECOND)
    await migrate(engine, new, "testd")
    await migrate(engine, new, "testd")
    assert await exists(engine, "first")
    assert await exists(engine, "second")


async def test_an_older_program_works_on_a_schema_that_says_so(
    database_url: str, engine: AsyncEngine, tmp_path: Path
) -> None:
    """As far back as the newest revision says, and it changes nothing; a program from before that is refused."""
    statements = [f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY)" for number in range(1, 5)]
    newest = scripts(tmp_path / "4", *statements)
    newest_script = tmp_path / "4" / "versions" / "0004.py"
    newest_script.write_text(newest_script.read_text() + "\noldest_program = '0002'\n")
    await migrate(engine, newest, "testd")
    for number in (2, 3):
        await migrate(engine, scripts(tmp_path / str(number), *statements[:number]), "testd")
    assert "beside which this one does not work" in await refusal(
        database_url, scripts(tmp_path / "1", *statements[:1])
    )
    await migrate(engine, newest, "testd")
    await migrate(engine, scripts(tmp_path / "5", *statements, SECOND), "testd")
    assert "revision 0005" in await refusal(database_url, str(tmp_path / "4"))


async def test_programs_that_start_together_take_turns(engine: AsyncEngine, database_url: str, tmp_path: Path) -> None:
    """Four programs on one empty database all come up."""
    location = scripts(tmp_path / "scripts", FIRST, SECOND)
    others = [create_engine(database_url) for _ in range(3)]
    await asyncio.gather(*(migrate(each, location, "testd") for each in (engine, *others)))
    for other in others:
        await other.dispose()
    assert await exists(engine, "second")


async def test_a_migration_that_fails_leaves_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    """The revisions before the one that failed are taken back too, and each start says which one it was."""
    location = scripts(tmp_path / "scripts", FIRST, "CREATE TABLE first (id INTEGER)")
    for _ in range(2):
        with pytest.raises(DatabaseError, match=r"revision 0002 and is as it was .*first.* already exists"):
            await migrate(engine, location, "testd")
        assert not await exists(engine, "first")


async def test_a_migration_takes_as_long_as_it_takes(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command of the services that takes so long fails; an index over a table that has grown must not."""
    monkeypatch.setattr("tallygate._server.database.postgres_engine.COMMAND_TIMEOUT_S", 0.2)
    async with fresh_database(postgres_url) as url:
        engine, patient = create_engine(url), create_engine(url)
        await migrate(engine, scripts(tmp_path, "SELECT pg_sleep(0.5)", FIRST), "testd")
        assert await exists(patient, "first")
        await patient.dispose()
        with pytest.raises(TimeoutError):
            async with engine.begin() as connection:
                await connection.execute(text("SELECT pg_sleep(10)"))
        await engine.dispose()


async def test_database_of_a_newer_version(engine: AsyncEngine, database_url: str, tmp_path: Path) -> None:
    """A revision that the program does not know is not touched."""
    await migrate(engine, scripts(tmp_path / "new", FIRST, SECOND), "testd")
    sentence = await refusal(database_url, scripts(tmp_path / "old", FIRST))
    assert "revision 0002" in sentence
    assert "newer version of testd, beside which this one does not work; upgrade the program" in sentence


async def test_postgresql_that_does_not_answer(tmp_path: Path) -> None:
    """Nobody listening is said with host and port, without the password."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        sentence = await refusal(f"postgresql://u:secret@127.0.0.1:{port}/d", scripts(tmp_path, FIRST))
    assert sentence == (
        f'The database "d" at 127.0.0.1:{port} does not answer; start PostgreSQL, or correct the database URL.'
    )


async def test_postgresql_database_that_does_not_exist(postgres_url: str, tmp_path: Path) -> None:
    """PostgreSQL's own words say what it refused."""
    nowhere = make_url(postgres_url).set(database="nowhere").render_as_string(hide_password=False)
    sentence = await refusal(nowhere, scripts(tmp_path, FIRST))
    assert 'cannot be used (database "nowhere" does not exist).' in sentence


def damaged(path: Path) -> str:
    path.write_bytes(b"no database, but long enough to be taken for one" * 100)
    return f"sqlite:///{path}"


def write_protected(path: Path) -> str:
    path.touch()
    return f"sqlite:///file:{path}?mode=ro&uri=true"


def not_there(path: Path) -> str:
    return f"sqlite:///file:{path}?mode=rw&uri=true"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (damaged, "is damaged or no SQLite database; restore it from a backup"),
        (write_protected, "cannot be written; let this user write"),
        (not_there, "cannot be opened; check that its directory exists"),
    ],
)
async def test_sqlite_file_that_cannot_be_used(make: Callable[[Path], str], problem: str, tmp_path: Path) -> None:
    """The sentence names the file, what is wrong with it and what to do."""
    path = tmp_path / "test.sqlite3"
    sentence = await refusal(make(path), scripts(tmp_path / "scripts", FIRST))
    assert str(path) in sentence
    assert problem in sentence
