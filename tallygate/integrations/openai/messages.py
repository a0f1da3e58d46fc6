"""Streams of Anthropic's messages API: what their events carry, and how one is ended early."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallygate.client import Usage
from tallygate.integrations.openai.events import mapping
from tallygate.integrations.openai.plain_reader import PlainReader
from tallygate.integrations.openai.reported_usage import EventCounts
from tallygate.integrations.openai.request_body import ParsedRequest

_TEXTS = {"text_delta": "text", "input_json_delta": "partial_json", "thinking_delta": "thinking"}
_THINKING = "thinking_delta"


class MessagesReader(PlainReader):
    """Reads one stream. Input is said at its beginning, output at its end; in between, pieces of text are counted."""

    __slots__ = ("_is_begun", "_open", "_parsed", "_request_id")

    def __init__(self, parsed: ParsedRequest, request_id: str) -> None:
        super().__init__()
        self._parsed = parsed
        self._request_id = request_id
        self._open: set[int] = set()
        self._is_begun = False

    def read_members(self, members: Mapping[str, object]) -> EventCounts:
        """Takes in an event by its members."""
        kind, index = members.get("type"), members.get("index")
        if kind == "message_start":
            self._is_begun = True
            return EventCounts(total=mapping(members.get("message")).get("usage"))
        if kind == "content_block_start" and isinstance(index, int):
            self._open.add(index)
        elif kind == "content_block_stop" and isinstance(index, int):
            self._open.discard(index)
        elif kind == "content_block_delta":
            return _count(mapping(members.get("delta")))
        elif kind == "message_delta":
            self._has_ended = self._has_ended or bool(mapping(members.get("delta")).get("stop_reason"))
            return EventCounts(total=members.get("usage"))
        elif kind == "error" or "error" in members:
            self.failed = True
        return EventCounts()

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        said = _write_usage(usage)
        events: list[dict[str, Any]] = []
        if not self._is_begun:
            message = {"id": f"msg_{self._request_id}", "type": "message", "role": "assistant", "content": []}
            state = {"model": self._parsed.model, "stop_reason": None, "stop_sequence": None}
            events.append({"type": "message_start", "message": {**message, **state, "usage": said}})
        events += [{"type": "content_block_stop", "index": index} for index in sorted(self._open)]
        delta = {"stop_reason": "max_tokens", "stop_sequence": None}
        events += [{"type": "message_delta", "delta": delta, "usage": said}, {"type": "message_stop"}]
        return "".join(
            f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n" for event in events
        ).encode()


def _count(delta: Mapping[str, object]) -> EventCounts:
    kind = delta.get("type")
    if not isinstance(kind, str) or not delta.get(_TEXTS.get(kind, "")):
        return EventCounts()
    return EventCounts(pieces=1, reasoning=int(kind == _THINKING), rough=1)


def _write_usage(usage: Usage) -> dict[str, int]:
    """As Anthropic writes it: input without what was read from or written to the cache."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_class_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
    }
