"""What a request asks for, and the body that is passed on in its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallygate.integrations.shapes import Shape

__all__ = ["Asked", "BadRequestError", "Shape", "capped", "read_request"]

_LIMITS = {
    Shape.CHAT: ("max_completion_tokens", "max_tokens"),
    Shape.COMPLETION: ("max_tokens",),
    Shape.EMBEDDING: (),
    Shape.RESPONSE: ("max_output_tokens",),
}
_ASK_FOR_USAGE = b',"stream_options":{"include_usage":true}}'
_TRUE = (True, "true", "True", "TRUE", "1", "yes", "on", "t", "y")
"""What servers that are lax about types take for true; 1 equals True."""
_TOKENS_MAX = 100_000_000


class BadRequestError(Exception):
    """The request is none that can be metered, and so none that may run.

    Attributes:
        message: Why not, as a sentence.
        param: The field that is wrong, if it is one.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for.

    Attributes:
        shape: Which API.
        content: The body, parsed.
        body: The body as it is passed on.
        model: The model, as the client spells it; empty where it names none.
        choices: How many answers are generated side by side.
        max_output_tokens: At most so many tokens are generated, over all choices; None where it does not say.
        wants_usage: The client itself asked for a chunk with usage at the end of its stream.
        hides_usage: That chunk was asked for on the client's behalf and must not reach it.
    """

    shape: Shape
    content: Mapping[str, Any]
    body: bytes
    model: str
    choices: int
    max_output_tokens: int | None
    wants_usage: bool
    hides_usage: bool


def read_request(shape: Shape, raw: bytes) -> Asked:
    """Reads a request's body.

    Raises:
        BadRequestError: It is no JSON object, or asks for what cannot be metered.
    """
    try:
        content = json.loads(raw.decode())
    except (ValueError, RecursionError):
        raise BadRequestError("The request's body is not JSON in UTF-8.") from None
    if not isinstance(content, dict):
        raise BadRequestError("The request's body is not a JSON object.")
    model = content.get("model") or ""
    if not isinstance(model, str):
        raise BadRequestError("The name of the model is not a string.", "model")
    if content.get("background"):
        raise BadRequestError(
            "What runs in the background cannot be metered here: leave `background` out.", "background"
        )
    choices = _choices(shape, content)
    wants_usage, body = _asking_for_usage(shape, content, raw)
    return Asked(
        shape=shape,
        content=content,
        body=body,
        model=model,
        choices=choices,
        max_output_tokens=_limit(shape, content, choices),
        wants_usage=wants_usage,
        hides_usage=body is not raw,
    )


def capped(asked: Asked, tokens: int) -> bytes:
    """The body to pass on, so that the server itself ends after so many tokens, over all choices."""
    if not _LIMITS[asked.shape]:
        return asked.body
    each = max(1, tokens // asked.choices)
    content = json.loads(asked.body)
    present = [name for name in _LIMITS[asked.shape] if content.get(name) is not None]
    name = present[0] if present else _LIMITS[asked.shape][-1]
    asked_for = _count(content.get(name))
    content[name] = each if asked_for is None else min(each, asked_for)
    return json.dumps(content, separators=(",", ":")).encode()


def _choices(shape: Shape, content: Mapping[str, Any]) -> int:
    if shape not in {Shape.CHAT, Shape.COMPLETION}:
        return 1
    each = max(_count(content.get("n")) or 1, _count(content.get("best_of")) or 1)
    prompt = content.get("prompt")
    several = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
    return each * (len(prompt) if several and isinstance(prompt, list) else 1)


def _limit(shape: Shape, content: Mapping[str, Any], choices: int) -> int | None:
    if shape is Shape.EMBEDDING:
        return 0
    for name in _LIMITS[shape]:
        tokens = _count(content.get(name))
        if tokens is not None:
            return min(tokens * choices, _TOKENS_MAX)
    return None


def _count(value: object) -> int | None:
    """A count, as lax servers read one; None for anything else."""
    if isinstance(value, str | float) and not isinstance(value, bool):
        try:
            value = int(value)
        except (ValueError, OverflowError):
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _asking_for_usage(shape: Shape, content: dict[str, Any], raw: bytes) -> tuple[bool, bytes]:
    """Whether the client asked for usage in its stream, and a body that does; `raw` where nothing is to be done."""
    if shape not in {Shape.CHAT, Shape.COMPLETION} or content.get("stream") not in _TRUE:
        return False, raw
    options = content.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") in _TRUE:
        return True, raw
    if "stream_options" not in content and (end := raw.rstrip(b" \t\r\n")).endswith(b"}"):
        # Cheaper than writing a long prompt anew, and the client's own bytes stay as they are.
        return False, end[:-1] + _ASK_FOR_USAGE
    if options is not None and not isinstance(options, dict):
        # The server will say what is wrong with it.
        return False, raw
    asking = {**content, "stream_options": {**(options or {}), "include_usage": True}}
    return False, json.dumps(asking, separators=(",", ":")).encode()
