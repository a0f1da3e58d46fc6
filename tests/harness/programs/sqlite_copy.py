"""A SQLite database that is saved, as operators are told to, and later put back to what it was."""

import sqlite3
from contextlib import closing
from pathlib import Path


def saved(path: Path) -> Path:
    """Where the copy of that database is."""
    return path.with_name(f"saved-{path.name}")


def save(path: Path) -> None:
    """A backup of a database in use."""
    with closing(sqlite3.connect(path)) as source:
        source.execute("VACUUM INTO ?", (str(saved(path)),))


def put_back(path: Path) -> None:
    """The database is what it was when it was saved."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    saved(path).replace(path)


def put_back_in_use(path: Path) -> None:
    """The database is what it was when it was saved, under the feet of all who use it."""
    with sqlite3.connect(saved(path)) as source, sqlite3.connect(path) as target:
        source.backup(target)
