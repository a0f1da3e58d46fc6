"""Files that are there as a whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias

Open: TypeAlias = Callable[[Path], BinaryIO]


def _open_new(path: Path) -> BinaryIO:
    return path.open("xb")


@contextmanager
def whole_file(path: Path, open_new: Open = _open_new) -> Iterator[BinaryIO]:
    """A new file, which takes its name when all of it is on the disk.

    It is written under another name in the same folder. Where the block fails, or the disk is full, that file is
    removed, and what the name stood for before is as it was.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open_new(partial) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            partial.unlink()
        raise
