"""One streamed answer: what passes through it, counted."""

from __future__ import annotations

import json
from typing import Protocol

from tallygate.client import Usage
from tallygate.integrations.openai.asked import Asked, Shape
from tallygate.integrations.openai.chat import ChatReader
from tallygate.integrations.openai.deltas import Kind
from tallygate.integrations.openai.responses import ResponsesReader
from tallygate.integrations.openai.sse import EventSplitter, event_data

_DONE = b"[DONE]"


class Reader(Protocol):
    """What is particular to an API."""

    new_tokens: int
    new_reasoning: int
    usage: Usage | None
    failed: bool

    @property
    def is_finished(self) -> bool:
        """Whether no more text will come."""
        ...

    def match(self, event: bytes) -> Kind | None:
        """What a whole event carries, where it can be told without parsing it."""
        ...

    def read(self, event: bytes, chunk: dict[str, object]) -> bool:
        """Takes in one event, counts what it carries, and returns whether the client shall see it."""
        ...

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early."""
        ...


class MeteredStream:
    """Counts a streamed answer while it passes. Pure: bytes in, bytes out, and what is known so far.

    A piece of text counts for one token, and never for more than was surely generated: what was once reported cannot be
    taken back. Where the server says its usage, that counts.
    """

    __slots__ = ("_reader", "_splitter", "problem", "reasoning", "tokens", "usage")

    def __init__(self, asked: Asked, request_id: str) -> None:
        reader: Reader
        reader = (ResponsesReader if asked.shape is Shape.RESPONSE else ChatReader)(asked, request_id)
        self._reader = reader
        self._splitter = EventSplitter()
        self.tokens = 0
        """Of the output class, so far."""
        self.reasoning = 0
        """Of these, for reasoning."""
        self.usage: Usage | None = None
        """The server's own counts, the greatest that it said."""
        self.problem = ""
        """What was wrong with the stream, in a few words."""

    @property
    def is_finished(self) -> bool:
        """Whether no more text will come, but perhaps usage."""
        return self._reader.is_finished

    def feed(self, piece: bytes) -> bytes:
        """Takes in the next piece of the body; returns what of it may go to the client now."""
        if not self._splitter.rest:
            kind = self._reader.match(piece)
            if kind is not None:
                self.tokens += 1
                if kind is Kind.REASONING:
                    self.reasoning += 1
                return piece
        shown = [event for event in self._splitter.feed(piece) if self._take(event)]
        if self._splitter.broken:
            self.problem = "an event without an end"
        return shown[0] if len(shown) == 1 else b"".join(shown)

    def close(self) -> bytes:
        """The body has ended: what may go to the client at last."""
        rest = self._splitter.close()
        if rest and not self._take(rest):
            return b""
        return rest

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        return (b"\n\n" if self._splitter.broken else b"") + self._reader.end(usage)

    def _take(self, event: bytes) -> bool:
        data = event_data(event)
        if not data or data == _DONE:
            return True
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            self.problem = "an event that is not JSON"
            return True
        if not isinstance(chunk, dict):
            self.problem = "an event that is not a JSON object"
            return True
        reader = self._reader
        reader.new_tokens = reader.new_reasoning = 0
        before = reader.usage
        is_shown = reader.read(event, chunk)
        self.tokens += reader.new_tokens
        self.reasoning += reader.new_reasoning
        if reader.usage is not before and reader.usage is not None:
            self._take_usage(reader.usage)
        if reader.failed:
            self.problem = "an error that the server sent in its stream"
        return is_shown

    def _take_usage(self, usage: Usage) -> None:
        if self.usage is not None and usage.total_tokens < self.usage.total_tokens:
            self.problem = "usage that shrinks"
            return
        self.usage = usage
        if usage.output_class_tokens > self.tokens:
            self.tokens = usage.output_class_tokens
            self.reasoning = max(self.reasoning, usage.reasoning_tokens)
