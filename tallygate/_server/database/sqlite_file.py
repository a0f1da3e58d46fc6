"""Whether the path of a SQLite database still names the file that this program has open.

An open file stays usable after it was moved or deleted: in WAL mode SQLite goes on writing to it without a word, and
what it then calls committed is nowhere to be found after the next start.
"""

import os
from pathlib import Path
from typing import TypeAlias

_Identity: TypeAlias = tuple[int, int]
"""Device and inode. No other file can have them while this one is open."""


class FileMovedError(OSError):
    """A file of the database is not at its path any more; the message is one sentence."""


class SqliteFile:
    """The files of one engine's database: that which `path` names, and its write-ahead log beside it."""

    def __init__(self, path: Path) -> None:
        """The file is there, and open. Raises OSError where it is not."""
        self._path = str(path.absolute())
        self._identity = _identity(self._path)
        self._wal_path = f"{self._path}-wal"
        self._wal_identity: _Identity | None = None

    def check(self) -> None:
        """To be called before anything is opened, read or written. A file that was put back is as good as before.

        Raises:
            FileMovedError: a path names no file, or another one.
        """
        _check(self._path, self._identity)
        if self._wal_identity is not None:
            _check(self._wal_path, self._wal_identity)

    def check_used(self) -> None:
        """To be called after a transaction, before anybody hears of it, while its connection is open.

        Raises:
            FileMovedError: what was committed may be in a file that has no name.
        """
        if self._wal_identity is None and os.path.exists(self._wal_path):  # noqa: PTH110  # paths are texts here
            # Pools keep connections, and as long as one is open the log stays the same. It is missing on file systems
            # that cannot have one.
            self._wal_identity = _identity(self._wal_path)
        self.check()

    def closed(self) -> None:
        """All connections are closed; the next one may begin another write-ahead log."""
        self._wal_identity = None


def _check(path: str, expected: _Identity) -> None:
    try:
        found = _identity(path)
    except OSError as error:
        msg = f'the file "{path}" was moved or deleted while in use; put it back'
        raise FileMovedError(msg) from error
    if found != expected:
        msg = (
            f'another file than the one in use is at "{path}"; put that one back, or start this program again, which '
            "then uses the new one"
        )
        raise FileMovedError(msg)


def _identity(path: str) -> _Identity:
    found = os.stat(path)  # noqa: PTH116  # each commit waits for it, and Path.stat takes longer
    return found.st_dev, found.st_ino
