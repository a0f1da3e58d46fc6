"""What a request asks for, and the body that is passed on in its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallygate.integrations.openai.usage_options import StreamUsage, UsageOptions, ask_for_usage
from tallygate.integrations.shapes import Shape

__all__ = ["Asked", "BadRequestError", "Shape", "capped", "read_request"]

ASKED_FOR_USAGE = (Shape.CHAT, Shape.COMPLETION)
"""Those whose streams say their usage only when asked."""
_LIMITS = {
    Shape.CHAT: ("max_completion_tokens", "max_tokens"),
    Shape.COMPLETION: ("max_tokens",),
    Shape.EMBEDDING: (),
    Shape.RESPONSE: ("max_output_tokens",),
}
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
        choices: How many answers are generated side by side, over all prompts.
        prompts: How many prompts it has.
        max_output_tokens: At most so many tokens are generated, over all choices; None where it does not say.
        wants_usage: The client itself asked for a chunk with usage at the end of its stream.
        hides_usage: That chunk was asked for on the client's behalf and must not reach it.
        hides_running: Usage in all other chunks was asked for on its behalf, too.
        streams: It asks for a stream.
        echoes: It asks for its prompt at the beginning of the answer.
    """

    shape: Shape
    content: Mapping[str, Any]
    body: bytes
    model: str
    choices: int
    prompts: int
    max_output_tokens: int | None
    wants_usage: bool
    hides_usage: bool
    hides_running: bool
    streams: bool
    echoes: bool

    @property
    def adds_usage(self) -> bool:
        """Whether something was added to the request, so that its stream says its usage."""
        return self.hides_usage or self.hides_running


def read_request(shape: Shape, raw: bytes, usage: StreamUsage = StreamUsage.RUNNING) -> Asked:
    """Reads a request's body.

    Args:
        shape: Which API.
        raw: The body.
        usage: How the server is made to say the usage of a stream.

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
    streams = content.get("stream") in _TRUE
    options = UsageOptions(wants_usage=False, hides_usage=False, hides_running=False, body=raw)
    if streams and shape in ASKED_FOR_USAGE:
        options = ask_for_usage(content, raw, usage, is_true=lambda value: value in _TRUE)
    return Asked(
        shape=shape,
        content=content,
        body=options.body,
        model=model,
        choices=choices,
        prompts=_prompts(shape, content),
        max_output_tokens=_limit(shape, content, choices),
        wants_usage=options.wants_usage,
        hides_usage=options.hides_usage,
        hides_running=options.hides_running,
        streams=streams,
        echoes=content.get("echo") in _TRUE,
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
    return each * _prompts(shape, content)


def _prompts(shape: Shape, content: Mapping[str, Any]) -> int:
    prompt = content.get("prompt")
    if shape is not Shape.COMPLETION or not isinstance(prompt, list) or not prompt or isinstance(prompt[0], int):
        return 1
    return len(prompt)


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
