"""Streams of the responses API: what their events carry, and how one is ended early."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from tallygate.client import Usage
from tallygate.integrations.openai.event_types import Event
from tallygate.integrations.openai.events import is_bare_error, read_event
from tallygate.integrations.openai.plain_reader import PlainReader
from tallygate.integrations.openai.reported_usage import EventCounts
from tallygate.integrations.openai.request_body import ParsedRequest
from tallygate.integrations.openai.usage import write_usage

_ENDS = {"response.completed", "response.incomplete", "response.failed"}
_INCOMPLETE = "response.incomplete"


class ResponsesReader(PlainReader):
    """Reads one stream; keeps its text, because what ends it has to repeat it."""

    __slots__ = (
        "_base",
        "_items",
        "_number",
        "_parsed",
        "_request_id",
        "_texts",
    )

    def __init__(self, parsed: ParsedRequest, request_id: str) -> None:
        super().__init__()
        self._parsed = parsed
        self._request_id = request_id
        self._base: Mapping[str, Any] = {}
        self._items: dict[int, Mapping[str, Any]] = {}
        self._texts: dict[int, list[str]] = {}
        self._number = -1

    def read(self, event: bytes, data: bytes, passed: int) -> tuple[EventCounts, bytes]:
        """Takes in one event: what it carries, and what has not passed of it."""
        said = read_event(data)
        kind = said.type
        if isinstance(said.sequence_number, int):
            self._number = said.sequence_number
        if not isinstance(kind, str):
            whole = json.loads(data)
            self.failed = self.failed or bool(whole.get("error")) or is_bare_error(event, whole)
            return EventCounts(), event[passed:]
        counts = EventCounts()
        if kind.endswith(".delta"):
            counts = self._read_delta(kind, said)
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            self._read_item(said)
        elif kind == "error":
            self.failed = True
        if isinstance(said.response, dict):
            counts = counts._replace(total=self._read_response(kind, said.response))
        return counts, event[passed:]

    def read_members(self, members: Mapping[str, object]) -> EventCounts:
        """Takes in an event that is too long to be kept, by those of its members that are not."""
        kind = members.get("type")
        if kind in _ENDS:
            self._has_ended = True
            self.failed = self.failed or kind == "response.failed"
        response = members.get("response")
        if isinstance(kind, str) and isinstance(response, dict):
            return EventCounts(total=self._read_response(kind, response))
        return EventCounts(pieces=1, rough=1) if isinstance(kind, str) and kind.endswith(".delta") else EventCounts()

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        response = {
            "id": f"resp_{self._request_id}",
            "object": "response",
            "created_at": int(time.time()),
            "model": self._parsed.model,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            **self._base,
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [self._item(index) for index in sorted(self._items)],
            "usage": write_usage(usage, responses=True),
        }
        event = {"type": _INCOMPLETE, "sequence_number": self._number + 1, "response": response}
        line = json.dumps(event, separators=(",", ":"))
        return f"event: {_INCOMPLETE}\ndata: {line}\n\n".encode()

    def _read_response(self, kind: str, response: Mapping[str, Any]) -> object:
        self._base = response
        if kind not in _ENDS:
            return None
        self.failed = self.failed or kind == "response.failed"
        usage = response.get("usage")
        self._has_ended = self._has_ended or usage is not None
        return usage

    def _read_delta(self, kind: str, said: Event) -> EventCounts:
        delta = said.delta
        if not isinstance(delta, str) or not delta:
            return EventCounts()
        if kind == "response.output_text.delta":
            if isinstance(said.output_index, int):
                self._texts.setdefault(said.output_index, []).append(delta)
        elif kind.startswith("response.reasoning"):
            return EventCounts(pieces=1, reasoning=1, rough=1)
        return EventCounts(pieces=1, rough=1)

    def _read_item(self, said: Event) -> None:
        if isinstance(said.item, dict) and isinstance(said.output_index, int):
            self._items[said.output_index] = said.item

    def _item(self, index: int) -> Mapping[str, Any]:
        """An output item as far as it came."""
        item = self._items[index]
        if item.get("status") == "completed":
            return item
        open_item = {**item, "status": "incomplete"}
        if index in self._texts and item.get("type") == "message":
            text = "".join(self._texts[index])
            open_item["content"] = [{"type": "output_text", "text": text, "annotations": []}]
        return open_item
