"""Streams of SGLang's own API: each event has the text and the counts of one choice so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallygate.client import Usage
from tallygate.integrations.openai.events import is_bare_error, mapping
from tallygate.integrations.openai.plain_reader import PlainReader
from tallygate.integrations.openai.reported_usage import EventCounts
from tallygate.integrations.openai.request_body import ParsedRequest


class GenerateReader(PlainReader):
    """Reads one stream. Every event has its counts, so that nothing is estimated."""

    __slots__ = ("_finished", "_last", "_parsed", "_request_id")

    def __init__(self, parsed: ParsedRequest, request_id: str) -> None:
        super().__init__()
        self._parsed = parsed
        self._request_id = request_id
        self._last: dict[int, Mapping[str, object]] = {}
        self._finished: set[int] = set()

    @property
    def is_finished(self) -> bool:
        """Whether every choice has said why it ended."""
        return len(self._finished) >= self._parsed.choices

    def read_members(self, members: Mapping[str, object]) -> EventCounts:
        """Takes in an event by its members."""
        if members.get("error") or is_bare_error(b"", members):
            self.failed = True
        index, meta = members.get("index", 0), members.get("meta_info")
        if not isinstance(meta, Mapping) or not isinstance(index, int):
            return EventCounts(pieces=1, rough=1) if members.get("text") or members.get("output_ids") else EventCounts()
        self._last[index] = members
        if meta.get("finish_reason"):
            self._finished.add(index)
        return EventCounts(running=((index, meta),))

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        lines = [json.dumps(_ended(said, usage)) for at, said in self._last.items() if at not in self._finished]
        if not self._last:
            lines = [json.dumps(_ended({"text": "", "meta_info": {"id": self._request_id}}, usage))]
        return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


def _ended(said: Mapping[str, object], usage: Usage) -> dict[str, Any]:
    """What was said last of a choice, with the reason that its length was reached; in a choice's own tokens."""
    meta = mapping(said.get("meta_info"))
    reason = {"type": "length", "length": meta.get("completion_tokens", usage.output_class_tokens)}
    return {**said, "meta_info": {**meta, "finish_reason": reason}}
