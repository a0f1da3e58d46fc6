"""Backups of a SQLite database in use: which of them have what was committed."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from tallygate._server.database.engine import create_engine
from tests.harness.programs.sqlite_copy import put_back, save


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM lines").fetchone()[0])


async def test_a_backup_has_what_was_committed_and_a_copy_of_the_file_has_not(tmp_path: Path) -> None:
    """It is in the write-ahead log, which docs/databases.md warns of."""
    path = tmp_path / "test.sqlite3"
    engine = create_engine(f"sqlite:///{path}")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE lines (n INTEGER)"))
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO lines VALUES (1)"))
    shutil.copy(path, tmp_path / "copy.sqlite3")
    save(path)
    assert count(tmp_path / "copy.sqlite3") == 0
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO lines VALUES (2)"))
    await engine.dispose()
    put_back(path)
    assert count(path) == 1
