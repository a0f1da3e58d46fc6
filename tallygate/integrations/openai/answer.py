"""One answer that comes as a whole: its usage, or an estimate where it has none."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tallygate.client import Usage
from tallygate.integrations.openai.estimate import BYTES_PER_TOKEN
from tallygate.integrations.openai.usage import find_usage, read_usage

WHOLE_BYTES_MAX = 256 << 10
"""Longer answers, such as many embeddings, are not parsed: only their end is looked through."""
_TEXTS = ("text", "content", "reasoning_content", "reasoning", "arguments", "refusal", "name")
_NESTING_MAX = 16


class MeteredAnswer:
    """Keeps of an answer what is needed to find its usage. Pure."""

    __slots__ = ("_is_whole", "_kept", "_kept_bytes", "_size")

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._size = 0
        self._is_whole = True

    def feed(self, piece: bytes) -> None:
        """Takes in the next piece of the body."""
        self._kept.append(piece)
        self._size += len(piece)
        self._kept_bytes += len(piece)
        while self._kept_bytes - len(self._kept[0]) >= WHOLE_BYTES_MAX:
            self._kept_bytes -= len(self._kept.pop(0))
            self._is_whole = False

    def read(self) -> tuple[Usage | None, int]:
        """The usage, or None and an estimate of the output tokens."""
        body = b"".join(self._kept)
        if not self._is_whole or len(body) > WHOLE_BYTES_MAX:
            usage = find_usage(body[-WHOLE_BYTES_MAX:])
            return usage, 0 if usage is not None else self._size // BYTES_PER_TOKEN
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            return None, 0
        if not isinstance(content, Mapping):
            return None, 0
        usage = read_usage(content.get("usage"))
        if usage is not None:
            return usage, 0
        text_bytes = _text_bytes(content.get("choices"), 0) + _text_bytes(content.get("output"), 0)
        return None, -(-text_bytes // BYTES_PER_TOKEN)


def _text_bytes(value: object, depth: int) -> int:
    if depth > _NESTING_MAX:
        return 0
    if isinstance(value, list):
        return sum(_text_bytes(item, depth + 1) for item in value)
    if not isinstance(value, Mapping):
        return 0
    return sum(
        len(item.encode("utf-8", "surrogatepass"))
        if isinstance(item, str) and key in _TEXTS
        else _text_bytes(item, depth + 1)
        for key, item in value.items()
    )
