"""What a request asks for, and the body that is passed on in its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallygate.integrations.openai.request_facts import facts_of, makes_output, parameters, prompt_count, shape_of
from tallygate.integrations.openai.usage_options import StreamUsage, UsageOptions, ask_for_usage, least_usage
from tallygate.integrations.shapes import Shape

__all__ = ["Asked", "BadRequestError", "Shape", "capped", "read_request"]

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
        usage: How its stream was asked for its usage.
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
    usage: StreamUsage
    streams: bool
    echoes: bool

    @property
    def choices_per_prompt(self) -> int:
        """How many answers are generated side by side for each prompt."""
        return max(1, self.choices // self.prompts)

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
    kind = shape_of(shape, content)
    if kind is None:
        raise BadRequestError("The request has the fields of none of the kinds that are metered here.")
    shape = kind
    choices = _choices(shape, content)
    streams = content.get("stream") in _TRUE
    options = UsageOptions(wants_usage=False, hides_usage=False, hides_running=False, body=raw)
    usage = least_usage(usage, facts_of(shape).usage)
    if streams and facts_of(shape).usage is not StreamUsage.NONE:
        options = ask_for_usage(content, raw, usage, is_true=lambda value: value in _TRUE)
    return Asked(
        shape=shape,
        content=content,
        body=options.body,
        model=model,
        choices=choices,
        prompts=prompt_count(shape, content),
        max_output_tokens=_limit(shape, content, choices),
        wants_usage=options.wants_usage,
        hides_usage=options.hides_usage,
        hides_running=options.hides_running,
        usage=usage,
        streams=streams,
        echoes=content.get("echo") in _TRUE,
    )


def capped(asked: Asked, tokens: int) -> bytes:
    """The body to pass on, so that the server itself ends after so many tokens, over all choices."""
    names = facts_of(asked.shape).limits
    if not names:
        return asked.body
    each = max(1, tokens // asked.choices)
    content = json.loads(asked.body)
    within = facts_of(asked.shape).within
    said = content.setdefault(within, {}) if within else content
    for limited in said if isinstance(said, list) else [said]:
        present = [name for name in names if limited.get(name) is not None]
        name = present[0] if present else names[-1]
        asked_for = _count(limited.get(name))
        limited[name] = each if asked_for is None else min(each, asked_for)
    return json.dumps(content, separators=(",", ":")).encode()


def _choices(shape: Shape, content: Mapping[str, Any]) -> int:
    if not makes_output(shape):
        return 1
    said = parameters(shape, content)
    each = max(_count(said.get("n")) or 1, _count(said.get("best_of")) or 1)
    return each * prompt_count(shape, content)


def _limit(shape: Shape, content: Mapping[str, Any], choices: int) -> int | None:
    if not makes_output(shape):
        return 0
    said = parameters(shape, content)
    for name in facts_of(shape).limits:
        tokens = _count(said.get(name))
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
