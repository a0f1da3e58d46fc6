"""Ends of events, at which what another program has read of an answer is cut: a stop is between two events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_EVENT: Final = b"\n\n"
_EVENT_OF_CRLF: Final = b"\r\n\r\n"
_ENDS: Final = {
    "text/event-stream": _EVENT,
    "application/x-ndjson": b"\n",
    "application/jsonl": b"\n",
}
"""Ends of events by the type of an answer. A server that is fast, or was not read for a while, sends many at a time."""


def end_of_event(content_type: str) -> bytes:
    """The end of an event in an answer of this type; empty where it has no events."""
    return _ENDS.get(content_type.partition(";")[0].strip().lower(), b"")


def events_in(read: bytes, end: bytes) -> Iterator[bytes]:
    """Cuts after each end of an event: what is counted can be stopped between two events, not within a piece."""
    if end == _EVENT and end not in read:
        # Lines of server-sent events may end so as well.
        end = _EVENT_OF_CRLF
    begin = 0
    while end and (found := read.find(end, begin)) >= 0:
        yield read[begin : found + len(end)]
        begin = found + len(end)
    if begin < len(read):
        yield read[begin:]
