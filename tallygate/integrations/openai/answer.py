"""One answer that comes as a whole: its usage, or an estimate where it has none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tallygate.client import Usage
from tallygate.integrations.openai.estimate import BYTES_PER_TOKEN, tokens_of
from tallygate.integrations.openai.events import is_bare_error
from tallygate.integrations.openai.json_members import MemberScanner, small_members
from tallygate.integrations.openai.usage import find_block, read_usage

WHOLE_BYTES_MAX = 256 << 10
"""Maximum size of an answer that is parsed; longer ones, such as many embeddings, are scanned for small members."""
_ANSWERS = ("choices", "output", "content", "text", "output_ids", "message", "response", "thinking", "predictions")
"""Members that carry what was generated, in the dialects that are metered."""
_TEXTS = (
    "text",
    "content",
    "response",
    "reasoning_content",
    "reasoning",
    "thinking",
    "arguments",
    "refusal",
    "name",
    "tool_plan",
)
_IDS = ("token_ids", "output_ids")
_NESTING_MAX = 16


class Reading(NamedTuple):
    """The counts of a whole answer.

    Attributes:
        usage: The server's own counts; None where it reports none.
        tokens: Output tokens, estimated from the text, where it reports none.
        is_refusal: It is an error and nothing else, whatever its status.
        input_tokens: Input tokens, estimated from what it reports of its input; None where it reports nothing of that.
        is_rough: Whether the output tokens are guessed by the length of a text.
    """

    usage: Usage | None
    tokens: int
    is_refusal: bool
    input_tokens: int | None = None
    is_rough: bool = True


class MeteredAnswer:
    """Keeps of an answer what is needed to find its usage, wherever it stands. Pure."""

    __slots__ = ("_items", "_kept", "_scanner", "_size")

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._scanner: MemberScanner | None = None
        self._items: list[Usage | None] = []
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """Takes in the next piece of the body."""
        self._size += len(piece)
        if self._scanner is not None:
            self._scanner.feed(piece)
            return
        self._kept.append(piece)
        if self._size > WHOLE_BYTES_MAX:
            self._scanner = MemberScanner(on_item=lambda item: self._items.append(_usage_of(item)))
            for kept in self._kept:
                self._scanner.feed(kept)
            self._kept = []

    def read(self, choices_per_prompt: int = 1) -> Reading:
        """The counts, as far as the answer came. In a list of choices, `choices_per_prompt` go back to one prompt."""
        scanner = self._scanner
        if scanner is not None:
            members = small_members(scanner)
            said = self._items or _usage_of_each(members)
            usage = find_usage(members) or (_sum_usage(said, choices_per_prompt) if scanner.is_closed else None)
            has_error = "error" in scanner.members and bool(members.get("error", "too long to be read"))
            is_refusal = usage is None and has_error and "choices" not in scanner.members
            return Reading(usage, 0 if usage is not None else self._size // BYTES_PER_TOKEN, is_refusal)
        try:
            content = json.loads(b"".join(self._kept))
        except (ValueError, RecursionError):
            return self._read_broken(b"".join(self._kept))
        usage = _usage_of(content) or _sum_usage(_usage_of_each(content), choices_per_prompt)
        if usage is not None:
            return Reading(usage, 0, is_refusal=False)
        if not isinstance(content, Mapping):
            return Reading(None, tokens_of(_text_bytes(content, 0)), is_refusal=False)
        text_bytes = _text_bytes({name: content[name] for name in _ANSWERS if name in content}, 0)
        # Cohere's errors are a message that is a sentence.
        says_error = bool(content.get("error")) or isinstance(content.get("message"), str)
        is_error = says_error or is_bare_error(b"", content)
        return Reading(None, tokens_of(text_bytes), is_error and not text_bytes)

    def _read_broken(self, body: bytes) -> Reading:
        """Broken off, or of another kind: its usage may have come all the same; else it is not nothing."""
        scanner = MemberScanner()
        scanner.feed(body)
        usage = find_usage(small_members(scanner)) if scanner.is_object and not scanner.has_more else None
        return Reading(usage, tokens_of(self._size) if usage is None else 0, is_refusal=False)


def find_usage(answer: Mapping[str, object]) -> Usage | None:
    """The usage of an answer, wherever its server reports it."""
    return read_usage(find_block(answer))


def _usage_of(item: object) -> Usage | None:
    return find_usage(item) if isinstance(item, Mapping) else None


def _usage_of_each(content: object) -> list[Usage | None]:
    """The usage of each answer of a list, which is Vertex AI's `predictions`; empty where it is none."""
    answers = content.get("predictions") if isinstance(content, Mapping) else content
    return [_usage_of(answer) for answer in answers] if isinstance(answers, list) else []


def _sum_usage(said: Sequence[Usage | None], choices_per_prompt: int) -> Usage | None:
    """Of a list of answers: of all their outputs, and of the input of each prompt once. None if one lacks it."""
    if not said:
        return None
    total = Usage()
    for at, usage in enumerate(said):
        if usage is None:
            return None
        is_first = at % choices_per_prompt == 0
        total = Usage(
            total.input_tokens + usage.input_tokens * is_first,
            total.cached_input_tokens + usage.cached_input_tokens * is_first,
            total.cache_write_tokens + usage.cache_write_tokens * is_first,
            total.output_tokens + usage.output_tokens,
            total.reasoning_tokens + usage.reasoning_tokens,
        )
    return total


def _text_bytes(value: object, depth: int) -> int:
    if depth > _NESTING_MAX:
        return 0
    if isinstance(value, list):
        return sum(_text_bytes(item, depth + 1) for item in value)
    if not isinstance(value, Mapping):
        return 0
    for name in _IDS:
        if isinstance(ids := value.get(name), list):
            return len(ids) * BYTES_PER_TOKEN
    return sum(
        len(item.encode("utf-8", "surrogatepass"))
        if isinstance(item, str) and key in _TEXTS
        else _text_bytes([{"text": part} if isinstance(part, str) else part for part in item], depth + 1)
        if isinstance(item, list) and key in _TEXTS
        else _text_bytes(item, depth + 1)
        for key, item in value.items()
    )
