"""A SQLite database that is saved, and later put back to what it was."""

import sqlite3
from pathlib import Path

SAVED = "copy.sqlite3"


def save(path: Path) -> None:
    """A backup, as SQLite makes them of a database in use."""
    with sqlite3.connect(path) as source, sqlite3.connect(path.with_name(SAVED)) as target:
        source.backup(target)


def put_back(path: Path) -> None:
    """The database is what it was when it was saved."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.with_name(SAVED).replace(path)


def put_back_in_use(path: Path) -> None:
    """The database is what it was when it was saved, under the feet of all who use it."""
    with sqlite3.connect(path.with_name(SAVED)) as source, sqlite3.connect(path) as target:
        source.backup(target)
