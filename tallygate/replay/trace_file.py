"""Files of traces as lines of text: plain, gzip or zstd, told apart by how they begin, never by their names."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINE_CHARS_MAX = 8_000_000
"""Maximum of characters in a line: a JSON line with the hashes of a context of 10 million tokens has less."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, zstd.ZstdError)


class TraceError(Exception):
    """A trace that cannot be read; the message is one sentence that says which file, which line, and what is wrong."""


class LineError(ValueError):
    """What is wrong with a line, as the end of a sentence that begins with the file and the line's number."""


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, without their ends; empty ones at the end are left out.

    Only one line is in memory at a time. Raises TraceError where the file cannot be read, or has an empty line between
    others.
    """
    empty_number = 0
    for number, line in enumerate(_texts(path), start=1):
        text = line.strip()
        if not text:
            empty_number = empty_number or number
            continue
        if empty_number:
            raise TraceError(f"{path}: line {empty_number} is empty, and others follow; take it out")
        yield number, text


def _texts(path: Path) -> Iterator[str]:
    try:
        # A byte-order mark is what some spreadsheets begin a file with.
        with (
            path.open("rb") as raw,
            _unpacked(raw) as plain,
            io.TextIOWrapper(plain, encoding="utf-8-sig", errors="replace") as text,
        ):
            while line := text.readline(LINE_CHARS_MAX):
                if len(line) == LINE_CHARS_MAX and not line.endswith("\n"):
                    raise TraceError(f"{path} has a line of more than {LINE_CHARS_MAX:,} characters: it is no trace")
                yield line
    except _DAMAGE as error:
        raise TraceError(f"{path} is compressed and damaged: {str(error) or 'it ends too early'}") from error
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}") from error


def _unpacked(raw: io.BufferedReader) -> IO[bytes]:
    beginning = raw.peek(len(_ZSTD))
    if beginning.startswith(_GZIP):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if beginning.startswith(_ZSTD):
        return cast("IO[bytes]", zstd.ZstdFile(raw))
    return raw
