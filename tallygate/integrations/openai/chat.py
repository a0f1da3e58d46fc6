"""Streams of the chat and completions APIs: what their chunks carry, and how one is ended early."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from tallygate.client import Usage
from tallygate.integrations.openai.asked import Asked, Shape
from tallygate.integrations.openai.deltas import Kind, Templates
from tallygate.integrations.openai.usage import read_usage, write_usage

_REASONING = ("reasoning_content", "reasoning")
_CHOICES_MAX = 1_024


class ChatReader:
    """Reads one stream of either API; `usage` is the latest that the server said, as it said it."""

    __slots__ = (
        "_asked",
        "_base",
        "_finished",
        "_request_id",
        "_seen",
        "_templates",
        "failed",
        "new_reasoning",
        "new_tokens",
        "usage",
    )

    def __init__(self, asked: Asked, request_id: str) -> None:
        self._asked = asked
        self._request_id = request_id
        self._templates = Templates()
        self._base: dict[str, Any] = {}
        self._seen = set(range(min(asked.choices, _CHOICES_MAX)))
        self._finished: set[int] = set()
        self.new_tokens = 0
        self.new_reasoning = 0
        self.usage: Usage | None = None
        self.failed = False
        """The server said that something went wrong."""

    @property
    def is_finished(self) -> bool:
        """Whether every choice has said why it ended."""
        return self._seen <= self._finished

    def match(self, event: bytes) -> Kind | None:
        """What a whole event carries, where it can be told without parsing it."""
        return self._templates.match(event)

    def read(self, event: bytes, chunk: Mapping[str, Any]) -> bool:
        """Takes in one event; counts what it carries. Returns whether the client shall see it."""
        if "error" in chunk:
            self.failed = True
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return True
        if not self._base:
            self._base = {key: value for key, value in chunk.items() if key not in {"choices", "usage"}}
        usage = read_usage(chunk.get("usage"))
        if usage is not None:
            self.usage = usage
        for choice in choices:
            if isinstance(choice, Mapping):
                self._read_choice(event, choice, learns=len(choices) == 1 and chunk.get("usage") is None)
        return not (self._asked.hides_usage and usage is not None and not choices)

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        chunks = [self._chunk([self._last(index)]) for index in sorted(self._seen - self._finished)]
        if self._asked.wants_usage:
            chunks.append({**self._chunk([]), "usage": write_usage(usage)})
        lines = [json.dumps(chunk, separators=(",", ":")) for chunk in chunks]
        return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()

    def _read_choice(self, event: bytes, choice: Mapping[str, Any], *, learns: bool) -> None:
        index = choice.get("index", 0)
        if isinstance(index, int) and len(self._seen) < _CHOICES_MAX:
            self._seen.add(index)
        if choice.get("finish_reason") is not None and isinstance(index, int):
            self._finished.add(index)
            learns = False
        delta = choice.get("delta") if self._asked.shape is Shape.CHAT else choice
        if not isinstance(delta, Mapping):
            return
        names = ("text",) if delta is choice else tuple(name for name in delta if name != "role")
        texts = [(name, delta[name]) for name in names if delta.get(name)]
        if not texts:
            return
        is_reasoning = all(name in _REASONING for name, _ in texts)
        tokens = _said_tokens(choice) or 1
        self.new_tokens += tokens
        self.new_reasoning += tokens if is_reasoning else 0
        if learns and len(texts) == 1 and tokens == 1 and isinstance(texts[0][1], str):
            name, text = texts[0]
            self._templates.learn(event, name, text, Kind.REASONING if is_reasoning else Kind.OUTPUT)

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        is_chat = self._asked.shape is Shape.CHAT
        base = self._base or {
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{self._request_id}",
            "object": "chat.completion.chunk" if is_chat else "text_completion",
            "created": int(time.time()),
            "model": self._asked.model,
        }
        return {**base, "choices": choices}

    def _last(self, index: int) -> dict[str, Any]:
        piece: dict[str, Any] = {"delta": {}} if self._asked.shape is Shape.CHAT else {"text": ""}
        return {"index": index, **piece, "logprobs": None, "finish_reason": "length"}


def _said_tokens(choice: Mapping[str, Any]) -> int:
    """How many tokens a choice's piece has, where the server says so beside it; 0 where it does not."""
    ids = choice.get("token_ids")
    if isinstance(ids, list):
        return len(ids)
    logprobs = choice.get("logprobs")
    if isinstance(logprobs, Mapping):
        each = logprobs.get("content") or logprobs.get("tokens")
        if isinstance(each, list):
            return len(each)
    return 0
