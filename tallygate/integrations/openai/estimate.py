"""A cheap estimate of a request's input tokens, for the hold that is taken before the model runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BYTES_PER_TOKEN = 4
"""Of English text with the usual tokenizers; somewhat fewer for code and most other languages."""
TOKENS_PER_MESSAGE = 4
"""What a chat template puts around a message."""
TOKENS_PER_ATTACHMENT = 1_000
"""For an image or a recording, whatever its size: models count it by its dimensions, which are not known here."""

_TEXTS = ("messages", "prompt", "input", "instructions", "tools", "functions", "response_format", "suffix")
_NESTING_MAX = 32


def estimate_input_tokens(content: Mapping[str, Any]) -> int:
    """Estimates the input tokens of a request: bytes of text by 4, and something for each message and attachment.

    Prompts that are given as token ids are counted exactly. What is billed is what the server counts; this says only
    how much is set aside until then.
    """
    tokens = 0
    for name in _TEXTS:
        value = content.get(name)
        if value:
            tokens += _tokens(value, 0)
    messages = content.get("messages")
    if isinstance(messages, list):
        tokens += TOKENS_PER_MESSAGE * len(messages)
    return tokens


def _tokens(value: object, depth: int) -> int:
    if isinstance(value, str):
        if value.startswith("data:"):
            return TOKENS_PER_ATTACHMENT
        return -(-len(value.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
    if isinstance(value, list) and value and isinstance(value[0], int):
        return len(value)
    if depth >= _NESTING_MAX:
        return 0
    return sum(_tokens(item, depth + 1) for item in value) if isinstance(value, list) else _of_object(value, depth)


def _of_object(value: object, depth: int) -> int:
    if not isinstance(value, Mapping):
        return 0
    kind = value.get("type")
    if isinstance(kind, str) and any(word in kind for word in ("image", "audio", "video", "file")):
        return TOKENS_PER_ATTACHMENT
    return sum(_tokens(item, depth + 1) for key, item in value.items() if key not in {"role", "type"})
