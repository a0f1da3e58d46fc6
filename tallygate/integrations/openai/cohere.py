"""Streams of Cohere's chat API, as vLLM serves them: what their events carry, and how one is ended early.

Read in vLLM 0.32.0, entrypoints/cohere/serving.py, and in Cohere's own Python client, cohere 7.3.1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallygate.client import Usage
from tallygate.integrations.openai.events import mapping
from tallygate.integrations.openai.plain_reader import PlainReader
from tallygate.integrations.openai.reported_usage import EventCounts
from tallygate.integrations.openai.request_body import ParsedRequest

_BLOCKS = ("content", "tool-call")
"""Blocks that have an event where they begin and one where they end, each with the block's number."""


class CohereReader(PlainReader):
    """Reads one stream. Its counts are said at its end; in between, pieces of text are counted."""

    __slots__ = ("_id", "_is_begun", "_open")

    def __init__(self, parsed: ParsedRequest, request_id: str) -> None:  # noqa: ARG002  # no event of this API says the model
        super().__init__()
        self._id: object = request_id
        self._open: dict[tuple[str, int], None] = {}
        self._is_begun = False

    def read_members(self, members: Mapping[str, object]) -> EventCounts:
        """Takes in an event by its members."""
        kind, delta = members.get("type"), mapping(members.get("delta"))
        if kind == "message-start":
            self._is_begun = True
            self._id = members.get("id") or self._id
        elif kind == "message-end":
            self._has_ended = True
            self.failed = self.failed or bool(delta.get("error")) or delta.get("finish_reason") == "ERROR"
            return EventCounts(total=delta.get("usage"))
        elif members.get("error") or isinstance(members.get("message"), str) or kind == "error":
            self.failed = True
        elif isinstance(kind, str):
            self._note_block(kind, members.get("index"))
            return _count(mapping(delta.get("message")), members.get("logprobs"))
        return EventCounts()

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        events: list[dict[str, Any]] = []
        if not self._is_begun:
            events.append({"type": "message-start", "id": self._id, "delta": {"message": {"role": "assistant"}}})
        events += [{"type": f"{block}-end", "index": index} for block, index in self._open]
        delta = {"finish_reason": "MAX_TOKENS", "usage": _write_usage(usage)}
        events.append({"type": "message-end", "id": self._id, "delta": delta})
        lines = [json.dumps(event, separators=(",", ":")) for event in events]
        return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()

    def _note_block(self, kind: str, index: object) -> None:
        block, _, what = kind.rpartition("-")
        if block not in _BLOCKS or not isinstance(index, int):
            return
        if what == "start":
            self._open[block, index] = None
        elif what == "end":
            self._open.pop((block, index), None)


def _count(message: Mapping[str, object], logprobs: object) -> EventCounts:
    """What a piece of a message has: its token ids where they are said beside it, else one token if it has a text."""
    content, function = mapping(message.get("content")), mapping(mapping(message.get("tool_calls")).get("function"))
    thought = content.get("thinking")
    texts = (content.get("text"), message.get("tool_plan"), function.get("name"), function.get("arguments"))
    ids = mapping(logprobs).get("token_ids")
    if isinstance(ids, list) and ids:
        return EventCounts(pieces=len(ids), reasoning=len(ids) if thought else 0)
    tokens = int(bool(thought) or any(texts))
    return EventCounts(pieces=tokens, reasoning=tokens if thought else 0, rough=tokens)


def _write_usage(usage: Usage) -> dict[str, object]:
    counts = {"input_tokens": usage.input_class_tokens, "output_tokens": usage.output_class_tokens}
    return {"billed_units": counts, "tokens": counts, "cached_tokens": usage.cached_input_tokens}
