"""Streams of speech to text: in chunks as of a chat, by vLLM and SGLang, or in events of their own, by OpenAI."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from tallygate.client import Usage
from tallygate.integrations.openai.chat import ChatReader
from tallygate.integrations.openai.estimate import tokens_of
from tallygate.integrations.openai.event_types import Choice
from tallygate.integrations.openai.events import NotAnObjectError, is_bare_error
from tallygate.integrations.openai.reported_usage import EventCounts
from tallygate.integrations.openai.request_body import ParsedRequest
from tallygate.integrations.openai.usage import find_block
from tallygate.integrations.shapes import Shape

_EVENTS = "transcript.text."
_DONE = "transcript.text.done"
_CHOICES = b'"choices"'
_KEPT_CHARACTERS_MAX = 1 << 20
"""Maximum length of a text that is sent once more where its stream is ended early."""


class SpeechReader(ChatReader):
    """Reads one stream. Chunks never tell its end: each part of a recording has a last one of its own."""

    __slots__ = ("_has_events", "_is_done", "_kept", "_teller", "_texts")

    def __init__(self, parsed: ParsedRequest, request_id: str) -> None:
        super().__init__(parsed, request_id)
        self._has_events = False
        self._is_done = False
        self._teller: object = ...
        self._texts: list[str] = []
        self._kept = 0

    @property
    def is_finished(self) -> bool:
        """Whether no more text will come."""
        return self._is_done

    def read(self, event: bytes, data: bytes, passed: int) -> tuple[EventCounts, bytes]:
        """Takes in one event of which some bytes have passed: what it carries, and what else the client shall see.

        Raises:
            ValueError: Its data are no JSON object.
            RecursionError: They are nested too deeply.
        """
        if _CHOICES in data:
            return super().read(event, data, passed)
        said = json.loads(data)
        if not isinstance(said, dict):
            raise NotAnObjectError
        self.failed = self.failed or bool(said.get("error")) or is_bare_error(event, said)
        kind = said.get("type")
        if isinstance(kind, str) and kind.startswith(_EVENTS):
            self._has_events = True
            self._is_done = self._is_done or kind == _DONE
        return self._count_text(kind, said)._replace(total=find_block(said)), event[passed:]

    def end(self, usage: Usage) -> bytes:
        """What ends the stream early, so that a client takes it for one that reached its limit."""
        if not self._has_events:
            return super().end(usage)
        if self._is_done:
            return b""
        counts = {"input_tokens": usage.input_class_tokens, "output_tokens": usage.output_class_tokens}
        said = {"type": "tokens", **counts, "total_tokens": usage.total_tokens}
        done = {"type": _DONE, "text": "".join(self._texts), "usage": said}
        return f"data: {json.dumps(done, separators=(',', ':'))}\n\n".encode()

    def _count_text(self, kind: object, said: Mapping[str, object]) -> EventCounts:
        """What the text of an event counts for. The same text comes in pieces and as a whole: the first kind counts."""
        text = said.get("delta") or said.get("text")
        if not isinstance(text, str) or not text:
            return EventCounts()
        if self._teller is ...:
            self._teller = kind
        if kind != self._teller:
            return EventCounts()
        if self._kept < _KEPT_CHARACTERS_MAX:
            self._kept += len(text)
            self._texts.append(text)
        each = said.get("logprobs")
        if isinstance(each, list) and each:
            return EventCounts(pieces=len(each))
        tokens = 1 if "delta" in said else tokens_of(len(text.encode("utf-8", "surrogatepass")))
        return EventCounts(pieces=tokens, rough=tokens)

    def _note(self, choice: Choice) -> None:
        """Nothing: the last chunk of a part is not the last one of the answer."""

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        prefix, task = ("trsl", "translation") if self._parsed.shape is Shape.TRANSLATION else ("trsc", "transcription")
        base = self._base or {
            "id": f"{prefix}-{self._request_id}",
            "object": f"{task}.chunk",
            "created": int(time.time()),
            "model": self._parsed.model,
        }
        return {**base, "choices": choices}

    def _last(self, index: int) -> dict[str, Any]:  # noqa: ARG002  # there is one choice
        return {"delta": {}, "finish_reason": "length", "stop_reason": None}
