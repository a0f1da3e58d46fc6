"""One streamed answer: what passes through it, counted."""

from __future__ import annotations

from typing import Protocol

from tallygate.client import Usage
from tallygate.integrations.openai.asked import Asked, Shape
from tallygate.integrations.openai.chat import ChatReader
from tallygate.integrations.openai.deltas import Kind
from tallygate.integrations.openai.events import NotAnObjectError
from tallygate.integrations.openai.responses import ResponsesReader
from tallygate.integrations.openai.sse import EventSplitter, event_data, only_data
from tallygate.integrations.openai.usage import Said, read_usage

_DONE = b"[DONE]"


class Reader(Protocol):
    """What is particular to an API. What is new is of the event that was read last."""

    new_tokens: int
    new_reasoning: int
    new_usage: Said | None
    failed: bool

    @property
    def is_finished(self) -> bool:
        """Whether no more text will come."""
        ...

    def match(self, event: bytes) -> Kind | None:
        """What a whole event carries, where it can be told without parsing it."""
        ...

    def read(self, event: bytes, data: bytes) -> bool:
        """Takes in one event, counts what it carries, and returns whether the client shall see it.

        Raises:
            ValueError: Its data are no JSON object.
            RecursionError: They are nested too deeply.
        """
        ...

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early."""
        ...


class MeteredStream:
    """Counts a streamed answer while it passes. Pure: bytes in, bytes out, and what is known so far.

    A piece of text counts for one token, and never for more than was surely generated: what was once reported cannot be
    taken back. Where the server says its usage, that counts.
    """

    __slots__ = ("_reader", "_said", "_said_total", "_splitter", "problem", "reasoning", "tokens")

    def __init__(self, asked: Asked, request_id: str) -> None:
        reader: Reader
        reader = (ResponsesReader if asked.shape is Shape.RESPONSE else ChatReader)(asked, request_id)
        self._reader = reader
        self._splitter = EventSplitter()
        self.tokens = 0
        """Of the output class, so far."""
        self.reasoning = 0
        """Of these, for reasoning."""
        self._said: Said | None = None
        self._said_total = 0
        self.problem = ""
        """What was wrong with the stream, in a few words."""

    @property
    def usage(self) -> Usage | None:
        """The server's own counts, the greatest that it said."""
        return None if self._said is None else read_usage(self._said[0])

    @property
    def is_finished(self) -> bool:
        """Whether no more text will come, but perhaps usage."""
        return self._reader.is_finished

    def feed(self, piece: bytes) -> bytes:
        """Takes in the next piece of the body; returns what of it may go to the client now."""
        splitter = self._splitter
        if not splitter.rest and not splitter.broken:
            kind = self._reader.match(piece)
            if kind is not None:
                self.tokens += 1
                if kind is Kind.REASONING:
                    self.reasoning += 1
                return piece
            data = only_data(piece)
            if data is not None:
                return piece if self._take(piece, data) else b""
        shown = [event for event in splitter.feed(piece) if self._take(event, event_data(event))]
        if splitter.broken:
            self.problem = "an event without an end"
        return shown[0] if len(shown) == 1 else b"".join(shown)

    def close(self) -> bytes:
        """The body has ended: what may go to the client at last."""
        rest = self._splitter.close()
        if rest and not self._take(rest, event_data(rest)):
            return b""
        return rest

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        return (b"\n\n" if self._splitter.broken else b"") + self._reader.end(usage)

    def _take(self, event: bytes, data: bytes) -> bool:
        """Counts one event; returns whether the client shall see it."""
        if not data or data == _DONE:
            return True
        reader = self._reader
        try:
            is_shown = reader.read(event, data)
        except NotAnObjectError:
            self.problem = "an event that is not a JSON object"
            return True
        except (ValueError, RecursionError):
            self.problem = "an event that is not JSON"
            return True
        if reader.new_tokens:
            self.tokens += reader.new_tokens
            self.reasoning += reader.new_reasoning
        if reader.new_usage is not None:
            self._take_usage(reader.new_usage)
        if reader.failed:
            self.problem = "an error that the server sent in its stream"
        return is_shown

    def _take_usage(self, said: Said) -> None:
        block, went_in, came_out = said
        if went_in + came_out < self._said_total:
            self.problem = "usage that shrinks"
            return
        self._said, self._said_total = said, went_in + came_out
        if came_out > self.tokens:
            usage = read_usage(block)
            self.tokens = came_out
            self.reasoning = max(self.reasoning, usage.reasoning_tokens if usage is not None else 0)
