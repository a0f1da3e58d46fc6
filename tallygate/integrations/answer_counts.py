"""The counts of one answer's tokens: reported by its server, counted as it passed, or guessed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from tallygate.client import Usage
from tallygate.integrations.habits import ServerHabits
from tallygate.integrations.openai.answer import Reading
from tallygate.integrations.openai.body import AnswerBody
from tallygate.integrations.openai.estimate import tokens_of
from tallygate.integrations.openai.header_usage import usage_in_headers
from tallygate.integrations.openai.request_body import ParsedRequest
from tallygate.integrations.openai.request_facts import facts_of, makes_output
from tallygate.integrations.openai.speech_answer import SpeechAnswer
from tallygate.integrations.openai.stream import MeteredStream

ROUGH_EXCESS_MAX = 2
"""Number of times its limit that a text may seem to have before its server is taken to disregard that."""


class Counts(NamedTuple):
    """The counts of one answer.

    Attributes:
        usage: The server's own counts, the last that it reported; None where it reported none.
        tokens: Output tokens that passed since then.
        reasoning: Of these, for reasoning.
        is_refusal: The answer is an error, and nothing was generated before it.
        input_tokens: Input tokens, as estimated from what the server reports of its input; None where it has none.
        is_as_ever: Nothing else can be known of such an answer.
    """

    usage: Usage | None = None
    tokens: int = 0
    reasoning: int = 0
    is_refusal: bool = False
    input_tokens: int | None = None
    is_as_ever: bool = False


class AnswerCounts:
    """Reads one answer while it passes.

    Attributes:
        stream: Counts it if it streams; None while that is not known, and where it does not.
    """

    __slots__ = (
        "_begun_ns",
        "_body",
        "_habits",
        "_header_usage",
        "_limit",
        "_parsed",
        "_problem",
        "_request_id",
        "_unread_bytes",
        "stream",
    )

    def __init__(self, parsed: ParsedRequest, request_id: str, limit: int | None, habits: ServerHabits) -> None:
        """Begins before anything was answered.

        Args:
            parsed: The request.
            request_id: Its id.
            limit: Maximum number of tokens in the request for the server, over all choices.
            habits: Of the server.
        """
        self._parsed = parsed
        self._request_id = request_id
        self._limit = limit
        self._habits = habits
        self._begun_ns = time.monotonic_ns()
        self._body: AnswerBody | None = None
        self._header_usage: Usage | None = None
        self._unread_bytes = 0
        self._problem = ""
        self.stream: MeteredStream | None = None

    @property
    def problem(self) -> str:
        """What was wrong with the answer, in a few words."""
        return self._problem or (self.stream.problem if self.stream is not None else "")

    def start(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Starts an answer that is no refusal, with these headers, their names in lower case."""
        if any(name == b"content-encoding" and value != b"identity" for name, value in headers):
            self._problem = "an answer that was compressed on its way"
            return
        self._header_usage = usage_in_headers(headers)
        streams, is_speech = self._parsed.streams, facts_of(self._parsed.shape).cuts_input
        self._body = AnswerBody(
            self._open_stream,
            may_be_lines=streams,
            may_be_events=streams or not is_speech,
            answer=SpeechAnswer() if is_speech else None,
        )

    def feed(self, piece: bytes, *, more: bool) -> bytes:
        """Takes in the next piece of the body; returns what of it may go to the client now."""
        body = self._body
        if body is None:
            self._unread_bytes += len(piece)
            return piece
        shown = body.feed(piece)
        if not more:
            shown += body.close()
        self.stream = body.stream
        return shown

    def counts(self, *, is_complete: bool, has_left: bool) -> Counts:
        """What is known in the end.

        Args:
            is_complete: The answer came to its end.
            has_left: Nobody waited for it.
        """
        stream = self.stream
        if stream is not None:
            usage, (tokens, reasoning) = stream.usage, stream.since
            has_output = bool(tokens or (usage is not None and usage.output_class_tokens))
            return Counts(usage, tokens, min(reasoning, tokens), stream.has_failed and not has_output)
        if self._header_usage is not None:
            return Counts(self._header_usage)
        if self._body is None:
            return Counts(tokens=self._guess_tokens() if has_left else self._tokens_unread())
        reading = self._within_limit(self._body.answer.read(self._parsed.choices_per_prompt))
        if not makes_output(self._parsed.shape):
            return Counts(reading.usage, is_refusal=reading.is_refusal)
        is_as_ever = facts_of(self._parsed.shape).cuts_input and is_complete
        generated = reading.usage.output_class_tokens if reading.usage is not None else reading.tokens * is_as_ever
        if is_complete and generated:
            self._habits.note_answer(generated, time.monotonic_ns() - self._begun_ns)
        return Counts(
            reading.usage,
            reading.tokens,
            is_refusal=reading.is_refusal,
            input_tokens=reading.input_tokens,
            is_as_ever=is_as_ever,
        )

    def _open_stream(self, is_lines: bool) -> MeteredStream:
        return MeteredStream(self._parsed, self._request_id, limit=self._limit, is_lines=is_lines)

    def _within_limit(self, reading: Reading) -> Reading:
        """A server ends by itself at its limit: a text that seems to have somewhat more has just as much."""
        limit = self._limit
        if limit is None or not reading.is_rough or not limit < reading.tokens <= limit * ROUGH_EXCESS_MAX:
            return reading
        return reading._replace(tokens=limit)

    def _tokens_unread(self) -> int:
        return tokens_of(self._unread_bytes) if self._problem and makes_output(self._parsed.shape) else 0

    def _guess_tokens(self) -> int:
        """Number of tokens that a whole answer probably had, where the server does not report it."""
        if not makes_output(self._parsed.shape) or self._parsed.streams:
            return 0
        tokens = self._habits.guess_tokens(time.monotonic_ns() - self._begun_ns)
        return tokens if self._limit is None else min(tokens, self._limit)
