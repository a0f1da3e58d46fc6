"""Server-sent events, cut out of a body that arrives in pieces; every byte of it is kept."""

from __future__ import annotations

import re

_CR, _LF = 13, 10
# Atomic, so that one CR LF is never taken for two ends of lines.
EMPTY_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_EMPTY_LINE_BYTES_MAX = 4
_BEFORE_DATA = re.compile(rb"(?:(?::[^\r\n]*+)?(?>\r\n|\n|\r(?!$)))*+")


class EventSplitter:
    """Cuts a byte stream into events, each with the empty line that ends it.

    Where the pieces of the body begin and end changes nothing: put together, events and `rest` are the body.
    """

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""
        """The beginning of an event whose end is still to come."""

    def feed(self, piece: bytes) -> list[bytes]:
        """Takes in the next piece of the body; returns the events that it completes."""
        held = len(self.rest)
        body = self.rest + piece if held else piece
        if b"\r" not in body:
            return self._cut_plain(body, held)
        events = []
        begin = 0
        for end in EMPTY_LINE.finditer(body, max(0, held - _EMPTY_LINE_BYTES_MAX)):
            # A CR may be half of a CR LF.
            if end.end() == len(body) and body[-1] == _CR:
                break
            events.append(body[begin : end.end()])
            begin = end.end()
        self.rest = body[begin:]
        return events

    def _cut_plain(self, body: bytes, held: int) -> list[bytes]:
        """The same where lines end in LF alone, as of nearly every server: many times faster."""
        events = []
        begin = 0
        end = body.find(b"\n\n", max(0, held - 1))
        while end >= 0:
            events.append(body[begin : end + 2])
            begin = end + 2
            end = body.find(b"\n\n", begin)
        self.rest = body[begin:]
        return events

    def close(self) -> bytes:
        """The body has ended: what is left of it."""
        rest, self.rest = self.rest, b""
        return rest


class LineSplitter:
    """Cuts a byte stream into lines, each of which is an event. As `EventSplitter` otherwise."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Takes in the next piece of the body; returns the lines that it completes."""
        end = piece.rfind(b"\n")
        if end < 0:
            # What is held is not looked at again: a long line may come in many small pieces.
            self.rest += piece
            return []
        lines = (self.rest + piece[:end]).split(b"\n")
        self.rest = piece[end + 1 :]
        return [line + b"\n" for line in lines]

    def close(self) -> bytes:
        """The body has ended: what is left of it."""
        rest, self.rest = self.rest, b""
        return rest


def comment_bytes(rest: bytes) -> int:
    """How many bytes at the beginning of an event are comments and empty lines, which belong to nothing."""
    found = _BEFORE_DATA.match(rest)
    return found.end() if found is not None else 0


def event_data(event: bytes) -> bytes:
    """The data of an event, its lines joined; empty for comments and for events without any."""
    data = only_data(event)
    if data is not None:
        return data
    lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(line.removeprefix(b" ") for line in lines)


def only_data(piece: bytes) -> bytes | None:
    """The data of a piece that is one whole event with one line of it, perhaps after its name; None for all others.

    So nearly every server writes: it saves cutting the piece and joining the lines.
    """
    # Slices, and numbers sought with `in`: methods of bytes cost several times as much.
    if piece[:7] == b"event: ":
        name, _, piece = piece.partition(b"\n")
        if _CR in name:
            return None
    if piece[:6] != b"data: " or piece[-2:] != b"\n\n":
        return None
    data = piece[6:-2]
    return None if _LF in data or _CR in data else data
