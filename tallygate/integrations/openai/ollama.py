"""Streams of Ollama's own API, a JSON object a line: what these carry, and how one is ended early.

Read in Ollama's docs/api.md and api/types.go, and in SGLang 0.5.23, srt/entrypoints/ollama/serving.py, which serves the
same API and reports no counts in its streams.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tallygate.client import Usage
from tallygate.integrations.openai.estimate import tokens_of
from tallygate.integrations.openai.plain_reader import PlainReader
from tallygate.integrations.openai.reported_usage import EventCounts
from tallygate.integrations.openai.request_body import ParsedRequest, Shape
from tallygate.integrations.openai.usage import find_block

LINE_BYTES_OF_ONE_TOKEN_MAX = 16
"""Maximum length of a line that is one token; a server that guesses ahead, or is busy, puts several into one."""


class OllamaReader(PlainReader):
    """Reads one stream. Its last line has the counts; in between, and where it does not, they are estimated."""

    __slots__ = ("_base", "_parsed")

    def __init__(self, parsed: ParsedRequest, request_id: str) -> None:  # noqa: ARG002  # no line of this API has an id
        super().__init__()
        self._parsed = parsed
        self._base: dict[str, object] = {}

    def read_members(self, members: Mapping[str, object]) -> EventCounts:
        """Takes in a line by its members."""
        if members.get("error"):
            self.failed = True
        self._base = {name: members[name] for name in ("model", "created_at") if name in members} or self._base
        tokens, is_reasoning = _count(members)
        if members.get("done") is not True:
            return EventCounts(pieces=tokens, reasoning=tokens if is_reasoning else 0, rough=tokens)
        self._has_ended = True
        block = find_block(members)
        # SGLang leaves out the text of the last token, which is in this line.
        tokens = max(tokens, 1) if block is None else 0
        return EventCounts(pieces=tokens, rough=tokens, total=block)

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        is_chat = self._parsed.shape is Shape.OLLAMA_CHAT
        said: dict[str, Any] = {
            "model": self._parsed.model,
            "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            **self._base,
            **({"message": {"role": "assistant", "content": ""}} if is_chat else {"response": ""}),
            "done": True,
            "done_reason": "length",
            "prompt_eval_count": usage.input_class_tokens,
            "eval_count": usage.output_class_tokens,
        }
        return f"data: {json.dumps(said, separators=(',', ':'))}\n\n".encode()


def _count(members: Mapping[str, object]) -> tuple[int, bool]:
    """How many tokens a line has, about, and whether they are of reasoning alone."""
    message = members.get("message")
    said = message if isinstance(message, Mapping) else members
    thought = said.get("thinking")
    texts = [text for text in (thought, said.get("content"), said.get("response")) if isinstance(text, str) and text]
    if calls := said.get("tool_calls"):
        texts.append(json.dumps(calls, ensure_ascii=False))
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    tokens = min(size, 1) if size <= LINE_BYTES_OF_ONE_TOKEN_MAX else tokens_of(size)
    return tokens, bool(thought) and len(texts) == 1
