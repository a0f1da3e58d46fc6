"""One streamed answer, counted as it passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from tallygate.client import Usage
from tallygate.integrations.openai.chat import ChatReader
from tallygate.integrations.openai.cohere import CohereReader
from tallygate.integrations.openai.deltas import Kind
from tallygate.integrations.openai.events import NotAnObjectError
from tallygate.integrations.openai.generate import GenerateReader
from tallygate.integrations.openai.json_members import small_members
from tallygate.integrations.openai.messages import MessagesReader
from tallygate.integrations.openai.ollama import OllamaReader
from tallygate.integrations.openai.partial_event import EVENT_BYTES_MAX, LongEvent, PartialEvent
from tallygate.integrations.openai.reported_usage import EventCounts, ReportedUsage
from tallygate.integrations.openai.request_body import ParsedRequest, Shape
from tallygate.integrations.openai.responses import ResponsesReader
from tallygate.integrations.openai.speech import SpeechReader
from tallygate.integrations.openai.sse import EventSplitter, LineSplitter, event_data, only_data

_DONE = b"[DONE]"


class Reader(Protocol):
    """What is particular to an API."""

    failed: bool

    @property
    def is_finished(self) -> bool:
        """Whether no more text will come."""
        ...

    @property
    def hides(self) -> bool:
        """Whether something of this stream is not for its client."""
        ...

    def match(self, event: bytes) -> Kind | None:
        """What a whole event carries, where that is known without parsing it."""
        ...

    def match_running(self, event: bytes) -> tuple[int, int, bytes] | None:
        """Likewise: its running usage, input and output, and the event without it."""
        ...

    def read(self, event: bytes, data: bytes, passed: int) -> tuple[EventCounts, bytes]:
        """Takes in one event of which some bytes have passed: what it carries, and what else the client shall see now.

        Raises:
            ValueError: Its data are no JSON object.
            RecursionError: They are nested too deeply.
        """
        ...

    def read_members(self, members: Mapping[str, object]) -> EventCounts:
        """Takes in an event that is too long to be kept, by its small members."""
        ...

    def flush(self) -> bytes:
        """What was held back, if nothing follows it."""
        ...

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early."""
        ...


_READERS: Mapping[Shape, Callable[[ParsedRequest, str], Reader]] = {
    Shape.RESPONSE: ResponsesReader,
    Shape.MESSAGES: MessagesReader,
    Shape.GENERATE: GenerateReader,
    Shape.VERTEX: GenerateReader,
    Shape.COHERE_CHAT: CohereReader,
    Shape.OLLAMA_CHAT: OllamaReader,
    Shape.OLLAMA_GENERATE: OllamaReader,
    Shape.TRANSCRIPTION: SpeechReader,
    Shape.TRANSLATION: SpeechReader,
}
"""All others stream as chats do."""


class MeteredStream:
    """Counts a streamed answer while it passes. Pure: bytes in, bytes out, and what is known so far.

    Bytes pass as they come. Only where something of an event may have to be hidden, its end is waited for.
    """

    __slots__ = ("_is_line", "_long", "_partial", "_reader", "_reported", "_splitter", "problem")

    def __init__(
        self, parsed: ParsedRequest, request_id: str, *, limit: int | None = None, is_lines: bool = False
    ) -> None:
        """Begins.

        Args:
            parsed: The request.
            request_id: Its id.
            limit: Maximum number of tokens in the request for the server, over all choices.
            is_lines: Each line is a chunk: no server-sent events.
        """
        self._reader: Reader = _READERS.get(parsed.shape, ChatReader)(parsed, request_id)
        self._is_line = is_lines
        self._splitter = LineSplitter() if is_lines else EventSplitter()
        self._partial: PartialEvent | None = None
        self._long: LongEvent | None = None
        self._reported = ReportedUsage(limit, parsed.choices_per_prompt, self._refuse_usage)
        self.problem = ""
        """What was wrong with the stream, in a few words."""

    @property
    def tokens(self) -> int:
        """Of the output class, the most that was known at any time."""
        return self._reported.tokens

    @property
    def reasoning(self) -> int:
        """Of these, for reasoning."""
        return self._reported.reasoning

    @property
    def usage(self) -> Usage | None:
        """The server's own counts, the last that it said."""
        return self._reported.usage

    @property
    def since(self) -> tuple[int, int]:
        """Tokens by pieces since the server said its own counts, and those of them that are for reasoning."""
        return self._reported.since, self._reported.since_reasoning

    @property
    def has_failed(self) -> bool:
        """Whether the server said that something went wrong."""
        return self._reader.failed

    @property
    def is_finished(self) -> bool:
        """Whether no more text will come, but perhaps usage."""
        return self._reader.is_finished

    def feed(self, piece: bytes) -> bytes:
        """Takes in the next piece of the body; returns what of it may go to the client now."""
        if self._long is None and not self._splitter.rest:
            reader = self._reader
            kind = reader.match(piece)
            if kind is not None:
                self._reported.add_piece(is_reasoning=kind is Kind.REASONING)
                return piece
            running = reader.match_running(piece)
            if running is not None:
                went_in, came_out, shown = running
                self._reported.set_running(went_in, came_out)
                return shown
            data = only_data(piece)
            if data is not None:
                return self._take(piece, data, 0)
        return self._feed_slowly(piece)

    def close(self) -> bytes:
        """The body has ended: what may go to the client at last."""
        if self._long is not None:
            shown = self._end_long(self._long.close())
            return shown + self._reader.flush()
        rest = self._splitter.close()
        shown = self._take_whole(rest) if rest else b""
        return shown + self._reader.flush()

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        is_cut = self._long is not None or (self._partial is not None and self._partial.passed > 0)
        held = self._reader.flush()
        end = self._reader.end(usage)
        if self._is_line:
            return held + (b"\n" if is_cut else b"") + _as_lines(end)
        return held + (b"\n\n" if is_cut else b"") + end

    def _feed_slowly(self, piece: bytes) -> bytes:
        shown = []
        rest: bytes | None = piece
        if self._long is not None:
            passed, rest = self._long.feed(piece)
            shown.append(passed if rest is None else self._end_long(passed))
        if rest:
            shown += [self._take_whole(event) for event in self._splitter.feed(rest)]
            shown.append(self._pass_early())
        return b"".join(shown)

    def _pass_early(self) -> bytes:
        """What may pass of an event that has not ended."""
        rest = self._splitter.rest
        if not rest:
            return b""
        hides = self._reader.hides
        if self._partial is None:
            self._partial = PartialEvent(hides=hides, is_line=self._is_line)
        shown = self._partial.take(rest)
        if shown:
            shown = self._reader.flush() + shown
        if len(rest) > EVENT_BYTES_MAX:
            self._long = LongEvent(rest, self._partial.passed, hides=hides, is_line=self._is_line)
            self._splitter.close()
            self._partial = None
        return shown

    def _take_whole(self, event: bytes) -> bytes:
        """Takes in an event that has ended, of which the beginning may have passed already."""
        partial, self._partial = self._partial, None
        data = event.strip() if self._is_line else event_data(event)
        return self._take(event, data, 0 if partial is None else partial.passed)

    def _end_long(self, shown: bytes) -> bytes:
        assert self._long is not None
        scanner, self._long = self._long.scanner, None
        if scanner.is_object:
            self._reported.take(self._reader.read_members(small_members(scanner)))
            self._note_failure()
        else:
            self.problem = "an event that is too long, and no JSON object"
        return shown

    def _take(self, event: bytes, data: bytes, passed: int) -> bytes:
        """Counts one event; returns what of it, and of those that were held back, the client shall see now."""
        if not data or data == _DONE:
            return self._reader.flush() + event[passed:]
        try:
            counts, shown = self._reader.read(event, data, passed)
        except NotAnObjectError:
            self._count_unread("an event that is not a JSON object", event)
            return self._reader.flush() + event[passed:]
        except (ValueError, RecursionError):
            self._count_unread("an event that is not JSON", event)
            return self._reader.flush() + event[passed:]
        self._reported.take(counts)
        self._note_failure()
        return shown

    def _count_unread(self, problem: str, event: bytes) -> None:
        """What cannot be read is not nothing, unless the server counts, or the event broke off."""
        self.problem = problem
        if self._reported.usage is None and event[-1:] in {b"\n", b"\r"}:
            self._reported.take(EventCounts(pieces=1, rough=1))

    def _note_failure(self) -> None:
        if self._reader.failed:
            self.problem = "an error that the server sent in its stream"

    def _refuse_usage(self, problem: str) -> None:
        self.problem = f"usage that cannot be: {problem}"


def _as_lines(events: bytes) -> bytes:
    """What ends a stream of events, for one of lines, which ends without a mark."""
    lines = map(event_data, EventSplitter().feed(events))
    return b"".join(line + b"\n" for line in lines if line != _DONE)
