"""The body of one answer, read by its first bytes, not by its headers: events, lines of JSON, or one JSON."""

from __future__ import annotations

from collections.abc import Callable

from tallygate.integrations.openai.answer import MeteredAnswer
from tallygate.integrations.openai.stream import MeteredStream

_BOM = b"\xef\xbb\xbf"
_SPACES = b" \t\r\n"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_HELD_BYTES_MAX = 1 << 20


class AnswerBody:
    """Finds out by its first bytes what a body is, then has it counted as that. Pure.

    Attributes:
        stream: Counts it if it streams; None while that is not known, and where it does not.
        answer: Counts it if it comes as a whole.
    """

    __slots__ = ("_begin", "_is_decided", "_may_be_lines", "_open", "answer", "stream")

    def __init__(
        self,
        open_stream: Callable[[bool], MeteredStream],
        *,
        may_be_lines: bool,
        may_be_events: bool = True,
        answer: MeteredAnswer | None = None,
    ) -> None:
        """Begins.

        Args:
            open_stream: Makes what counts a stream; told whether each line of it is a chunk.
            may_be_lines: A stream was asked for: several JSON objects, each on a line, are one.
            may_be_events: It is no plain text, which could look like events.
            answer: What counts it if it comes as a whole, where that is no answer like most.
        """
        self._open = open_stream
        self._may_be_lines = may_be_lines
        self._begin = b""
        self._is_decided = not may_be_events
        self.stream: MeteredStream | None = None
        self.answer = MeteredAnswer() if answer is None else answer

    def feed(self, piece: bytes) -> bytes:
        """Takes in the next piece; returns what of it may go to the client now."""
        if self.stream is not None:
            return self.stream.feed(piece)
        if self._is_decided:
            self.answer.feed(piece)
            return piece
        return self._find_out(piece)

    def close(self) -> bytes:
        """The body has ended: what may go to the client at last."""
        if self.stream is not None:
            return self.stream.close()
        held, self._begin = self._begin, b""
        self.answer.feed(held)
        return held

    def _find_out(self, piece: bytes) -> bytes:
        """White space passes at once, and what comes after it once it is known what it is."""
        body = self._begin + piece
        if _BOM.startswith(body) and body != _BOM:
            self._begin = body
            return b""
        text = body.removeprefix(_BOM).lstrip(_SPACES)
        before = body[: len(body) - len(text)]
        self._begin = text
        is_lines = self._is_lines(text)
        is_events = any(text.startswith(name) for name in _FIELDS)
        if is_events or is_lines:
            self._begin = b""
            self.stream = self._open(bool(is_lines))
            return before + self.stream.feed(text)
        is_open = not text or is_lines is None or any(name.startswith(text) for name in _FIELDS)
        if is_open and len(text) < _HELD_BYTES_MAX:
            return before
        self._is_decided = True
        self._begin = b""
        self.answer.feed(text)
        return before + text

    def _is_lines(self, text: bytes) -> bool | None:
        """Whether it is an object a line, as its first line tells; None before that has come."""
        if not self._may_be_lines or text[:1] != b"{":
            return False
        line, end, _ = text.partition(b"\n")
        return line.rstrip().endswith(b"}") if end else None
