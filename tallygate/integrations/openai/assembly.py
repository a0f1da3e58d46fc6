"""A whole answer of the chat or completions API, put together from the chunks of its stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import StringIO
from typing import Any

from tallygate.integrations.openai.events import is_bare_error
from tallygate.integrations.openai.request_json import read_count
from tallygate.integrations.openai.sse import EventSplitter, event_data
from tallygate.integrations.shapes import Shape

KEPT_BYTES_MAX = 64 << 20
"""Maximum size of an answer that is kept, roughly; the answer ends where there would be more."""
_VALUE_BYTES = 64
"""Cost of a value besides its text."""
_SAID_ONCE = frozenset({"role", "id", "type", "name"})
"""Texts that are not continued from chunk to chunk."""
_CHUNK_ONLY = frozenset({"choices", "usage", "object"})
_ERROR_STATUSES = range(400, 600)


def can_stream(shape: Shape, content: Mapping[str, Any]) -> bool:
    """Whether a request for a whole answer may ask for a stream instead, which says all of the same."""
    if shape not in {Shape.CHAT, Shape.COMPLETION} or content.get("use_beam_search"):
        return False
    if content.get("stream_options") is not None or content.get("prompt_logprobs") is not None:
        return False
    choices = read_count(content, "n") or 1
    if (read_count(content, "best_of") or 1) > choices:
        return False
    return all((read_count(content, name) or 1) <= 1 for name in ("beam_width", "num_beams"))


class Assembly:
    """Takes in a stream and gives the answer that it is. Pure.

    Attributes:
        kept_bytes: How much is kept of it, about.
        error: An error that was said in it, and its status; None where there is none.
    """

    __slots__ = ("_base", "_choices", "_is_chat", "_splitter", "_usage", "error", "kept_bytes")

    def __init__(self, shape: Shape) -> None:
        """Begins.

        Args:
            shape: Of the chat or of the completions API.
        """
        self._is_chat = shape is Shape.CHAT
        self._splitter = EventSplitter()
        self._base: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: object = None
        self.kept_bytes = 0
        self.error: tuple[int, dict[str, Any]] | None = None

    @property
    def is_full(self) -> bool:
        """Whether no more of it may be kept."""
        return self.kept_bytes + len(self._splitter.rest) > KEPT_BYTES_MAX

    def feed(self, piece: bytes) -> None:
        """Takes in the next piece of the stream's body."""
        for event in self._splitter.feed(piece):
            self._take(event)

    def close(self) -> dict[str, Any]:
        """The body has ended: the answer, as JSON has it."""
        self._take(self._splitter.close())
        kind = "chat.completion" if self._is_chat else "text_completion"
        answer = {**self._base, "object": kind}
        answer["choices"] = [_choice(self._choices[index]) for index in sorted(self._choices)]
        if self._usage is not None:
            answer["usage"] = self._usage
        return answer

    def _take(self, event: bytes) -> None:
        try:
            said = json.loads(event_data(event) or b"null")
        except (ValueError, RecursionError):
            # Such as the last event, `[DONE]`.
            return
        if not isinstance(said, dict):
            return
        if said.get("error") or is_bare_error(event, said):
            self.error = self.error or (_status(said), said)
            return
        for name, value in said.items():
            if name not in _CHUNK_ONLY and self._base.get(name) is None:
                self._base[name] = value
        if said.get("usage") is not None:
            self._usage = said["usage"]
        choices = said.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and isinstance(index := choice.get("index", 0), int):
                self._take_choice(self._choice_at(index), choice)

    def _choice_at(self, index: int) -> dict[str, Any]:
        found = self._choices.get(index)
        if found is None:
            self.kept_bytes += _VALUE_BYTES
            said: dict[str, Any] = {"message": {}} if self._is_chat else {"text": StringIO()}
            found = self._choices[index] = {"index": index, **said, "logprobs": None, "finish_reason": None}
        return found

    def _take_choice(self, kept: dict[str, Any], said: Mapping[str, Any]) -> None:
        for name, value in said.items():
            if name == "delta":
                if self._is_chat and isinstance(value, dict):
                    self._merge(kept["message"], value)
            elif name == "text":
                if not self._is_chat and isinstance(value, str):
                    self._merge(kept, {"text": value})
            elif name == "logprobs" and isinstance(value, dict):
                kept["logprobs"] = kept["logprobs"] or {}
                for part, each in value.items():
                    self._extend(kept["logprobs"], part, each)
            elif name == "token_ids":
                self._extend(kept, name, value)
            elif name not in {"index", "usage"} and (value or name not in kept):
                # Some servers write an empty reason where others write null.
                kept[name] = value

    def _extend(self, kept: dict[str, Any], name: str, value: object) -> None:
        """Continues a list, whatever its members are."""
        if isinstance(value, list) and isinstance(kept.get(name), list):
            kept[name].extend(value)
        elif value is not None or name not in kept:
            kept[name] = value
        self.kept_bytes += _bytes_of(value)

    def _merge(self, kept: dict[str, Any], said: Mapping[str, Any]) -> None:
        """Continues what was said by what is said now."""
        for name, value in said.items():
            before = kept.get(name)
            if isinstance(value, str) and name not in _SAID_ONCE:
                if not isinstance(before, StringIO):
                    before = kept[name] = StringIO()
                before.write(value)
                self.kept_bytes += len(value)
            elif isinstance(value, dict):
                if not isinstance(before, dict):
                    before = kept[name] = {}
                self._merge(before, value)
            elif isinstance(value, list):
                if not isinstance(before, _Items):
                    before = kept[name] = _Items()
                self._merge_items(before, value, continues=name == "tool_calls")
            elif not before if name in _SAID_ONCE else value is not None or name not in kept:
                self.kept_bytes += _bytes_of(value)
                kept[name] = value

    def _merge_items(self, kept: _Items, said: list[Any], *, continues: bool) -> None:
        """Continues members by their index; of those without one, perhaps the last one."""
        for item in said:
            if not isinstance(item, dict):
                kept[max(kept, default=-1) + 1] = item
                self.kept_bytes += _bytes_of(item)
                continue
            at = item.get("index")
            if not isinstance(at, int):
                # Without an index, a name of its own begins another one.
                at = max(kept) if continues and kept and not item.get("id") else max(kept, default=-1) + 1
            if not isinstance(kept.get(at), dict):
                kept[at] = {}
                self.kept_bytes += _VALUE_BYTES
            self._merge(kept[at], {name: value for name, value in item.items() if name != "index"})


class _Items(dict[int, Any]):
    """Members of a list by their index, as they grow."""


def _choice(kept: Mapping[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = _plain(kept)
    message = choice.get("message")
    if message is not None:
        others = {name: value for name, value in message.items() if name not in {"role", "content"} and value}
        content = message.get("content")
        if content == "" and others:
            content = None
        choice["message"] = {**message, "role": message.get("role") or "assistant", "content": content}
    return choice


def _plain(kept: Any) -> Any:
    """What was kept, as JSON has it."""
    if isinstance(kept, StringIO):
        return kept.getvalue()
    if isinstance(kept, _Items):
        return [_plain(kept[at]) for at in sorted(kept)]
    if isinstance(kept, dict):
        return {name: _plain(value) for name, value in kept.items()}
    return kept


def _bytes_of(value: object) -> int:
    """About how much it takes to keep a value."""
    if isinstance(value, str):
        return _VALUE_BYTES + len(value)
    if isinstance(value, list):
        return _VALUE_BYTES + sum(map(_bytes_of, value))
    if isinstance(value, dict):
        return _VALUE_BYTES + sum(len(name) + _bytes_of(each) for name, each in value.items())
    return _VALUE_BYTES


def _status(said: Mapping[str, Any]) -> int:
    """The status that an error has outside of a stream."""
    error = said.get("error")
    code = (error if isinstance(error, dict) else said).get("code")
    return code if isinstance(code, int) and code in _ERROR_STATUSES else 500
