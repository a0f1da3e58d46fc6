"""Streams of the chat and completions APIs: what their chunks carry, and how one is ended early."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from tallygate.client import Usage
from tallygate.integrations.openai.deltas import Kind, Templates
from tallygate.integrations.openai.event_types import Choice, Chunk
from tallygate.integrations.openai.events import is_bare_error, read_chunk, whole_chunk
from tallygate.integrations.openai.reported_usage import EventCounts
from tallygate.integrations.openai.request_body import ParsedRequest, Shape
from tallygate.integrations.openai.running_usage import match_running, usage_span, without
from tallygate.integrations.openai.usage import find_block, write_usage

_REASONING = ("reasoning_content", "reasoning")
_CHOICES_MAX = 1_024
_PLAIN = {
    *("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "sglext"),
    *("request_id", "output_mode"),
}
"""Members of a chunk that is there for its usage alone."""
_FINGERPRINT = b'"system_fingerprint"'


class ChatReader:
    """Reads one stream of either API."""

    __slots__ = (
        "_base",
        "_ends",
        "_finished",
        "_held",
        "_hides_running",
        "_hides_usage",
        "_is_chat",
        "_parsed",
        "_request_id",
        "_seen",
        "_spoken",
        "_templates",
        "failed",
    )

    def __init__(self, parsed: ParsedRequest, request_id: str) -> None:
        self._parsed = parsed
        self._is_chat = parsed.shape is Shape.CHAT
        self._request_id = request_id
        self._templates = Templates()
        self._hides_usage = parsed.hides_usage
        self._hides_running = parsed.hides_running
        self._base: dict[str, Any] | None = None
        self._seen = set(range(min(parsed.choices, _CHOICES_MAX)))
        self._finished: set[int] = set()
        self._spoken: set[int] = set()
        self._held: list[bytes] = []
        self._ends = False
        self.failed = False
        """The server said that something went wrong."""

    @property
    def is_finished(self) -> bool:
        """Whether every choice has said why it ended."""
        return self._seen <= self._finished

    @property
    def hides(self) -> bool:
        """Whether something of this stream is not for its client, so that an event is checked before it passes."""
        return self._hides_usage or self._hides_running

    def match(self, event: bytes) -> Kind | None:
        """What a whole event carries, where that is known without parsing it."""
        return None if self._held else self._templates.match(event)

    def match_running(self, event: bytes) -> tuple[int, int, bytes] | None:
        """Likewise, of a stream with one choice: its input and output so far, and the event without these."""
        if not self._hides_running or self._held or self._base is None or len(self._seen) > 1:
            return None
        return match_running(event)

    def read(self, event: bytes, data: bytes, passed: int) -> tuple[EventCounts, bytes]:
        """Takes in one event of which some bytes have passed: what it carries, and what else the client shall see.

        Raises:
            ValueError: Its data are no JSON object.
            RecursionError: They are nested too deeply.
        """
        chunk = read_chunk(data)
        counts = self._take(chunk)
        if not counts.running and counts.total is None and (self._ends or not chunk.choices):
            # At its end, a server may report its usage in another place than here.
            said = json.loads(data)
            self.failed = self.failed or is_bare_error(event, said)
            counts = counts._replace(total=find_block(said))
        if chunk.choices and not self._base:
            self._base = whole_chunk(data)
        return counts, self._shown(event, data, chunk, counts, passed)

    def read_members(self, members: Mapping[str, object]) -> EventCounts:
        """Takes in an event that is too long to be kept, by those of its members that are not."""
        first = members.get("choices")
        first = first.get("0") if isinstance(first, Mapping) else None
        if not isinstance(first, Mapping):
            counts = self._take(Chunk(None, members.get("usage"), members.get("error")))
        else:
            # One with a choice has its usage so far, not that of the whole answer.
            choice = Choice(first.get("index", 0), finish_reason=first.get("finish_reason"), usage=first.get("usage"))
            counts = self._take(Chunk([choice], members.get("usage"), members.get("error")))
        return counts._replace(pieces=1, rough=1)

    def flush(self) -> bytes:
        """What was held back, if nothing follows it."""
        held, self._held = b"".join(self._held), []
        return held

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        chunks = [self._chunk([self._last(index)]) for index in sorted(self._seen - self._finished)]
        if self._parsed.wants_usage:
            chunks.append({**self._chunk([]), "usage": write_usage(usage)})
        lines = [json.dumps(chunk, separators=(",", ":")) for chunk in chunks]
        return self.flush() + "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()

    def _take(self, chunk: Chunk) -> EventCounts:
        if chunk.error:
            self.failed = True
        # Of several choices at once, it cannot be of a single one.
        is_of_all = len(chunk.choices or ()) != 1
        pieces = reasoning = rough = 0
        running: list[tuple[int, object]] = []
        self._ends = False
        for choice in chunk.choices or ():
            if choice is None:
                continue
            self._note(choice)
            tokens, is_rough, thinks = self._count(choice)
            pieces += tokens
            rough += tokens if is_rough else 0
            reasoning += tokens if thinks else 0
            said = chunk.usage if choice.usage is None and not is_of_all else choice.usage
            if said is not None:
                running.append((choice.index if isinstance(choice.index, int) else 0, said))
        total = chunk.usage if is_of_all else None
        return EventCounts(pieces, reasoning, rough, tuple(running), total)

    def _note(self, choice: Choice) -> None:
        index = choice.index
        if isinstance(index, int):
            if index not in self._seen and len(self._seen) < _CHOICES_MAX:
                self._seen.add(index)
            # Some servers write an empty reason where others write null.
            if choice.finish_reason:
                self._finished.add(index)
                self._ends = True

    def _delta(self, choice: Choice) -> Any:
        """The piece of a choice; some servers write the one API's way in streams of the other."""
        if choice.delta is not None and (self._is_chat or choice.text is None):
            return choice.delta
        return None if choice.text is None else {"text": choice.text}

    def _count(self, choice: Choice) -> tuple[int, bool, bool]:
        """How many tokens a choice's piece has, whether that is a guess, and whether they are of reasoning."""
        delta = self._delta(choice)
        kind = _kind(delta) if isinstance(delta, dict) else None
        if self._parsed.echoes and choice.index not in self._spoken:
            # It begins with the prompt, and so do the ids and the log probabilities beside it.
            self._spoken.add(choice.index if isinstance(choice.index, int) else 0)
            return (0, True, False) if kind is None else (1, True, kind is Kind.REASONING)
        tokens = _reported_tokens(choice)
        if tokens:
            return tokens, False, kind is Kind.REASONING
        return (0, True, False) if kind is None else (1, True, kind is Kind.REASONING)

    def _shown(self, event: bytes, data: bytes, chunk: Chunk, counts: EventCounts, passed: int) -> bytes:
        """What the client shall see of an event, and of those that were held back before it.

        The last chunk of each choice waits for the one with usage: vLLM (0.32) takes `system_fingerprint` out of the
        former where the latter is asked for.
        """
        if chunk.usage is None or chunk.choices is None or not self.hides:
            if counts.pieces == 1 and not self._held and chunk.usage is None and self._templates.is_learning:
                self._learn(event, chunk.choices)
        elif not chunk.choices and self._hides_usage and not _has_more(data):
            return self._flush_with(data)
        elif chunk.choices and self._hides_running:
            span = usage_span(event)
            event = event if span is None else without(event, *span)
        shown = event[passed:] if passed else event
        if self._ends and self._hides_usage:
            self._held.append(shown)
            return b""
        return self.flush() + shown if self._held else shown

    def _flush_with(self, data: bytes) -> bytes:
        """The last chunks with choices, as the server would have written them without the one with usage."""
        fingerprint = json.loads(data).get("system_fingerprint")
        if fingerprint is not None and self._held and _FINGERPRINT not in self._held[-1]:
            last = self._held[-1]
            end = last.rfind(b"}")
            stamp = b"," + _FINGERPRINT + b":" + json.dumps(fingerprint).encode()
            self._held[-1] = last[:end] + stamp + last[end:]
        return self.flush()

    def _learn(self, event: bytes, choices: list[Choice | None] | None) -> None:
        """Has the templates remember an event, if all that counts in it is one text."""
        said, kind = None, Kind.OUTPUT
        choice = choices[0] if choices and len(choices) == 1 else None
        if choice is not None and not choice.finish_reason and choice.logprobs is choice.token_ids is None:
            delta = self._delta(choice) or {}
            texts = [(name, text) for name, text in delta.items() if text and name != "role"]
            said = texts[0] if len(texts) == 1 and isinstance(texts[0][1], str) else None
            kind = _kind(delta) or kind
        self._templates.learn(event, said, kind)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        is_chat = self._is_chat
        base = self._base or {
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{self._request_id}",
            "object": "chat.completion.chunk" if is_chat else "text_completion",
            "created": int(time.time()),
            "model": self._parsed.model,
        }
        return {**base, "choices": choices}

    def _last(self, index: int) -> dict[str, Any]:
        piece: dict[str, Any] = {"delta": {}}
        if not self._is_chat:
            piece = {"text": ""} if self._parsed.shape is Shape.COMPLETION else {"token_ids": []}
        return {"index": index, **piece, "logprobs": None, "finish_reason": "length"}


def _has_more(data: bytes) -> bool:
    """Whether a chunk without choices has something beside its usage that the client would miss."""
    said = json.loads(data)
    return any(value is not None and name not in _PLAIN for name, value in said.items())


def _kind(delta: dict[str, Any]) -> Kind | None:
    """What a piece is: reasoning if it has nothing else in it; None if there is nothing at all."""
    kind = None
    for name, text in delta.items():
        if text and name != "role":
            if name not in _REASONING:
                return Kind.OUTPUT
            kind = Kind.REASONING
    return kind


def _reported_tokens(choice: Choice) -> int:
    """Number of tokens of a choice's piece, where the server reports it beside the text; 0 where it does not."""
    if isinstance(choice.token_ids, list):
        return len(choice.token_ids)
    logprobs = choice.logprobs
    if logprobs is not None:
        each = logprobs.content or logprobs.tokens
        if isinstance(each, list):
            return len(each)
    return 0
