"""Streams of the chat and completions APIs: what their chunks carry, and how one is ended early."""

from __future__ import annotations

import json
import time
from typing import Any

from tallygate.client import Usage
from tallygate.integrations.openai.asked import Asked, Shape
from tallygate.integrations.openai.deltas import Kind, Templates
from tallygate.integrations.openai.events import Choice, read_chunk, whole_chunk
from tallygate.integrations.openai.usage import Said, read_totals, write_usage

_REASONING = ("reasoning_content", "reasoning")
_CHOICES_MAX = 1_024


class ChatReader:
    """Reads one stream of either API."""

    __slots__ = (
        "_asked",
        "_base",
        "_finished",
        "_hides_usage",
        "_is_chat",
        "_request_id",
        "_seen",
        "_templates",
        "failed",
        "new_reasoning",
        "new_tokens",
        "new_usage",
    )

    def __init__(self, asked: Asked, request_id: str) -> None:
        self._asked = asked
        self._is_chat = asked.shape is Shape.CHAT
        self._hides_usage = asked.hides_usage
        self._request_id = request_id
        self._templates = Templates()
        self._base: dict[str, Any] | None = None
        self._seen = set(range(min(asked.choices, _CHOICES_MAX)))
        self._finished: set[int] = set()
        self.new_tokens = 0
        self.new_reasoning = 0
        self.new_usage: Said | None = None
        self.failed = False
        """The server said that something went wrong."""

    @property
    def is_finished(self) -> bool:
        """Whether every choice has said why it ended."""
        return self._seen <= self._finished

    def match(self, event: bytes) -> Kind | None:
        """What a whole event carries, where it can be told without parsing it."""
        return self._templates.match(event)

    def read(self, event: bytes, data: bytes) -> bool:
        """Takes in one event; counts what it carries. Returns whether the client shall see it."""
        self.new_tokens = self.new_reasoning = 0
        self.new_usage = None
        chunk = read_chunk(data)
        if chunk.error:
            self.failed = True
        choices = chunk.choices
        if choices is None:
            return True
        if not self._base:
            self._base = whole_chunk(data)
        usage = chunk.usage
        if usage is not None:
            self.new_usage = read_totals(usage)
        for choice in choices:
            if choice is not None:
                self._read_choice(choice)
        if self.new_tokens == 1 and usage is None and self._templates.is_learning and len(choices) == 1:
            self._learn(event, choices[0])
        return bool(choices) or self.new_usage is None or not self._hides_usage

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        chunks = [self._chunk([self._last(index)]) for index in sorted(self._seen - self._finished)]
        if self._asked.wants_usage:
            chunks.append({**self._chunk([]), "usage": write_usage(usage)})
        lines = [json.dumps(chunk, separators=(",", ":")) for chunk in chunks]
        return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()

    def _read_choice(self, choice: Choice) -> None:
        index = choice.index
        if isinstance(index, int):
            if index not in self._seen and len(self._seen) < _CHOICES_MAX:
                self._seen.add(index)
            if choice.finish_reason is not None:
                self._finished.add(index)
        delta = choice.delta if self._is_chat else {"text": choice.text}
        if not isinstance(delta, dict):
            return
        kind = _kind(delta)
        if kind is None:
            return
        tokens = 1
        if choice.logprobs is not None or choice.token_ids is not None:
            tokens = _said_tokens(choice) or 1
        self.new_tokens += tokens
        if kind is Kind.REASONING:
            self.new_reasoning += tokens

    def _learn(self, event: bytes, choice: Choice | None) -> None:
        """Has the templates remember an event, if all that counts in it is one text."""
        said = None
        if choice is not None and choice.finish_reason is choice.logprobs is choice.token_ids is None:
            delta = choice.delta if self._is_chat else {"text": choice.text}
            texts = [(name, text) for name, text in delta.items() if text and name != "role"]
            said = texts[0] if len(texts) == 1 and isinstance(texts[0][1], str) else None
        self._templates.learn(event, said, Kind.REASONING if self.new_reasoning else Kind.OUTPUT)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        is_chat = self._is_chat
        base = self._base or {
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{self._request_id}",
            "object": "chat.completion.chunk" if is_chat else "text_completion",
            "created": int(time.time()),
            "model": self._asked.model,
        }
        return {**base, "choices": choices}

    def _last(self, index: int) -> dict[str, Any]:
        piece: dict[str, Any] = {"delta": {}} if self._is_chat else {"text": ""}
        return {"index": index, **piece, "logprobs": None, "finish_reason": "length"}


def _kind(delta: dict[str, Any]) -> Kind | None:
    """What a piece is: reasoning if it has nothing else in it; None if there is nothing at all."""
    kind = None
    for name, text in delta.items():
        if text and name != "role":
            if name not in _REASONING:
                return Kind.OUTPUT
            kind = Kind.REASONING
    return kind


def _said_tokens(choice: Choice) -> int:
    """How many tokens a choice's piece has, where the server says so beside it; 0 where it does not."""
    if isinstance(choice.token_ids, list):
        return len(choice.token_ids)
    logprobs = choice.logprobs
    if logprobs is not None:
        each = logprobs.content or logprobs.tokens
        if isinstance(each, list):
            return len(each)
    return 0
