"""A cheap estimate of a request's input tokens, for the hold that is taken before the model runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallygate.integrations.openai.form import FilePart
from tallygate.integrations.openai.recordings import estimate_recording_tokens

BYTES_PER_TOKEN = 4
"""Number of bytes of English text for a token; somewhat fewer for code and most other languages."""
BYTES_PER_DIGIT = 2
"""Number of bytes that a digit adds: with many tokenizers it is a token of its own."""
TOKENS_PER_MESSAGE = 4
"""Number of tokens that a chat template puts around a message."""
TOKENS_PER_ATTACHMENT = 1_000
"""Minimum number of tokens of an image or a recording: models count by its dimensions, which are not known here."""
BYTES_PER_ATTACHMENT_TOKEN = 128
"""Number of bytes for a token of an attachment in the request; compressed pictures and sound have more."""
BYTES_PER_FILE_TOKEN = 16
"""Number of bytes for a token of a document in the request: its text is compressed, or beside its layout."""
TEMPLATE_TOKENS = 16
"""Number of tokens with which a chat template begins and ends."""

_TALK = ("messages", "input", "prompt", "system", "instructions", "suffix")
"""Fields that carry the prompt, as text, token ids, messages, or parts of messages."""
_OPTIONS = frozenset(
    {
        "model", "user", "stop", "stop_token_ids", "bad_words", "logit_bias", "metadata", "stream_options", "include",
        "modalities", "service_tier", "safety_identifier", "prompt_cache_key", "cache_salt", "request_id",
        "kv_transfer_params", "allowed_token_ids", "encoding_format", "truncation", "reasoning",
        "reasoning_effort", "verbosity", "options", "keep_alive", "think",
        "safety_mode", "citation_options", "stop_sequences",
    }
)  # fmt: skip
"""Fields that no model reads. Whatever else there is, such as tools, documents and schemas, counts as text."""
_ENVELOPE = frozenset({"role", "type", "id", "status", "index", "cache_control", "detail"})
_STRUCTURE = frozenset({"content", "text", "tool_calls", "function", "name", "arguments", "output", "refusal"})
_ATTACHED = frozenset({"images", "image_data", "audio_data", "video_data"})
"""Fields beside a text that have pictures and recordings: of Ollama's messages, of SGLang's prompts."""
_ATTACHMENTS = ("image", "audio", "video", "file", "document", "embeds")


def estimate_input_tokens(content: Mapping[str, Any]) -> int:
    """Estimates the input tokens of a request: bytes of text by 4, more for digits, messages and attachments.

    Prompts that are given as token ids are counted exactly. What is billed is what the server counts; the estimate
    is recorded where it never reported that.
    """
    tokens = sum(_talk_tokens(content[name]) for name in _TALK if content.get(name))
    return tokens + sum(
        _other_tokens(name, value)
        for name, value in content.items()
        if value and isinstance(value, str | list | dict | FilePart) and name not in _OPTIONS and name not in _TALK
    )


def input_tokens_to_hold(content: Mapping[str, Any], estimated_tokens: int) -> int:
    """What is set aside for an input that was estimated: half as much again, and what a template adds.

    For text in most languages, and for code, no usual tokenizer makes more of it; the docs say for which it does.
    """
    template = TEMPLATE_TOKENS if "messages" in content or "instructions" in content else 0
    return estimated_tokens + -(-estimated_tokens // 2) + template


def _other_tokens(name: str, value: str | list[Any] | dict[str, Any] | FilePart) -> int:
    """Of a field that carries no talk, such as tools, or that nobody here knows."""
    files = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, FilePart)]
    if files:
        return sum(estimate_recording_tokens(item.data) for item in files)
    if any(word in name for word in _ATTACHMENTS[:3]) or name == "prompt_embeds":
        return _attached_tokens(value)
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value)):
        return _json_tokens(value)
    return _talk_tokens(value)


def _talk_tokens(said: object) -> int:
    """Of what is said: any nesting of texts, token ids, messages and their parts."""
    tokens = 0
    waiting = [said]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            tokens += _text_tokens(value)
        elif isinstance(value, list):
            if all(type(item) is int for item in value):
                tokens += len(value)
            else:
                waiting.extend(value)
        elif isinstance(value, dict):
            tokens += _object_tokens(value, waiting)
        elif value is not None:
            tokens += 1
    return tokens


def _object_tokens(value: dict[str, Any], waiting: list[object]) -> int:
    """Of a message, or a part of one; the values of its fields are left to wait."""
    if _is_attachment(value):
        return _attachment_tokens(value)
    tokens = TOKENS_PER_MESSAGE if "role" in value else 0
    for key, item in value.items():
        if key in _ATTACHED and item:
            tokens += _attached_tokens(item)
        elif key not in _ENVELOPE:
            tokens += 0 if key in _STRUCTURE else _text_tokens(key)
            waiting.append(item)
    return tokens


def _attached_tokens(value: object) -> int:
    """Of a field that has one picture or recording, or a list of them."""
    return sum(map(_attachment_tokens, value)) if isinstance(value, list) else _attachment_tokens(value)


def _is_attachment(part: Mapping[str, Any]) -> bool:
    """Whether it is a picture, a recording, or a document, and neither a message nor a call of a tool."""
    kind = part.get("type")
    if not isinstance(kind, str) or "role" in part or "tool" in kind or "call" in kind:
        return False
    return any(word in kind for word in _ATTACHMENTS)


def _attachment_tokens(part: object) -> int:
    """By the length of what is in the request, whichever way it is nested; texts beside it count as texts."""
    tokens = TOKENS_PER_ATTACHMENT
    is_file = isinstance(part, dict) and any(word in str(part.get("type")) for word in ("file", "document"))
    per_token = BYTES_PER_FILE_TOKEN if is_file else BYTES_PER_ATTACHMENT_TOKEN
    waiting: list[Any] = [part]
    inline = 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            is_text = value.startswith("data:text/") or (is_file and " " in value)
            if is_text:
                tokens += _text_tokens(value)
            else:
                inline += len(value) * 3 // 4
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
    return max(tokens, inline // per_token)


def tokens_of(text_bytes: int) -> int:
    """Estimated number of tokens of a text of that many bytes, rounded up."""
    return -(-text_bytes // BYTES_PER_TOKEN)


def _text_tokens(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    digits = len(data) - len(data.translate(None, b"0123456789"))
    return tokens_of(len(data) + BYTES_PER_DIGIT * digits)


def _json_tokens(value: object) -> int:
    """Of what a template writes out as JSON, names and all."""
    return _text_tokens(json.dumps(value, ensure_ascii=False))
