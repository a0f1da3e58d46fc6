"""SQLite databases at the newest revision, for tests of other things: a process migrates once, and copies."""

import asyncio
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from pathlib import Path

from tallygate._server.database.engine import create_engine, migrate


def migrated_url(path: Path, migrations: str) -> str:
    """URL of a file with all tables; nothing is in them, unless it was there before."""
    if not path.exists():
        path.write_bytes(migrated_bytes(migrations))
    return f"sqlite:///{path}"


@cache
def migrated_bytes(migrations: str) -> bytes:
    """The file, without a write-ahead log, of which a database in memory knows nothing."""
    with tempfile.TemporaryDirectory(prefix="tallygate-migrated-") as directory, ThreadPoolExecutor(1) as executor:
        path = Path(directory) / "migrated.sqlite3"
        # In another thread: a loop may run in this one.
        executor.submit(asyncio.run, migrate_url(f"sqlite:///{path}", migrations)).result()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            return connection.serialize()


async def migrate_url(url: str, migrations: str) -> None:
    """Bring the database to the newest revision, as a service does when it starts."""
    engine = create_engine(url)
    await migrate(engine, migrations, "test")
    await engine.dispose()
