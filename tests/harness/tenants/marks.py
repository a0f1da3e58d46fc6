"""Marks in everything that a tenant writes: nobody can guess them, and each text has one of its own."""

import re
import secrets
from collections.abc import Iterator
from typing import Final

from google.protobuf.message import Message

THEIRS: Final = "zq"
"""First letters of the marks of a tenant whom others must not see."""
OWN: Final = "zw"
"""First letters of the marks of a tenant who looks."""
MARK: Final = re.compile(rb"zq[0-9a-f]{12}")
GHOST: Final = re.compile(rb"zx[0-9a-f]{12}")

_HEX_BYTES: Final = 6
_PIECE: Final = re.compile(r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[a-zA-Z])[\w-]{12,}")
"""A piece of a text that a server made up: a uid, the id of a token or a binding, a secret; a figure is anybody's."""


def new_mark(first: str) -> str:
    """A mark that was never used."""
    return first + secrets.token_hex(_HEX_BYTES)


def ghost_of(data: bytes) -> bytes:
    """The same with marks in it that nobody ever used, and that are of the same length."""
    return MARK.sub(lambda mark: b"zx" + mark[0][2:], data)


def from_ghost(data: bytes) -> bytes:
    """What was said of a ghost, as it would be of what the ghost stands for."""
    return GHOST.sub(lambda ghost: b"zq" + ghost[0][2:], data)


def made_up(message: Message) -> Iterator[bytes]:
    """All that a server made up in an answer: as unguessable as a mark, and as telling."""
    for field, value in message.ListFields():
        parts = list(value.values()) if hasattr(value, "values") else value if field.is_repeated else [value]
        for part in parts:
            if isinstance(part, Message):
                yield from made_up(part)
            elif isinstance(part, bytes):
                yield part
            elif isinstance(part, str):
                yield from (piece.encode() for piece in _PIECE.findall(part) if not MARK.search(piece.encode()))
