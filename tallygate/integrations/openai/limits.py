"""How much a request may generate, and how a server is told that it may be less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallygate.integrations.openai.request_json import read_count
from tallygate.integrations.shapes import Shape

LIMIT_FIELDS: Mapping[Shape, tuple[str, ...]] = {
    Shape.CHAT: ("max_completion_tokens", "max_tokens"),
    Shape.COMPLETION: ("max_tokens",),
    Shape.RESPONSE: ("max_output_tokens",),
}
"""Of each kind that generates, the fields that limit one answer; the last is set where there is none."""
CHOICE_FIELDS = ("n", "best_of", "beam_width", "num_beams")
MIN_FIELD = "min_tokens"

SMALLEST_ANSWER_TOKENS = 16
"""Minimum of an answer that is of use to anybody; an answer that comes as a whole is refused if less is left."""
_TOKENS_MAX = 100_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request says about how much it may generate.

    Attributes:
        prompts: How many prompts it has.
        choices: How many answers are generated, over all prompts.
        max_output_tokens: At most so many tokens, over all choices; None where nothing limits them. A limit of zero or
            less is none: some servers take it for that.
        min_output_tokens: Over all choices, what has to be left so that a whole answer is of use.
    """

    prompts: int
    choices: int
    max_output_tokens: int | None
    min_output_tokens: int


def read_limits(shape: Shape, content: Mapping[str, Any]) -> Limits:
    """Reads what limits a request.

    Raises:
        BadRequestError: A field is not a whole number.
    """
    fields = LIMIT_FIELDS.get(shape)
    if fields is None:
        return Limits(prompts=1, choices=1, max_output_tokens=0, min_output_tokens=0)
    prompts = _prompts(content) if shape is Shape.COMPLETION else 1
    each = max(1, *(read_count(content, name) or 1 for name in CHOICE_FIELDS))
    choices = min(prompts * each, _TOKENS_MAX)
    limits = [limit for name in fields if (limit := read_count(content, name)) is not None]
    is_limited = bool(limits) and min(limits) > 0
    smallest = max(SMALLEST_ANSWER_TOKENS, read_count(content, MIN_FIELD) or 0)
    return Limits(
        prompts=prompts,
        choices=choices,
        max_output_tokens=min(max(limits) * choices, _TOKENS_MAX) if is_limited else None,
        min_output_tokens=min(smallest * choices, _TOKENS_MAX),
    )


def lowered(shape: Shape, content: Mapping[str, Any], each_tokens: int) -> dict[str, int]:
    """The fields to change so that each answer has at most so many tokens, with all that is linked to the limit."""
    fields = LIMIT_FIELDS[shape]
    present = {name: limit for name in fields if (limit := read_count(content, name)) is not None}
    changes = {name: min(each_tokens, limit) if limit > 0 else each_tokens for name, limit in present.items()}
    changes = changes or {fields[-1]: each_tokens}
    smallest = read_count(content, MIN_FIELD)
    if smallest is not None and smallest > each_tokens:
        changes[MIN_FIELD] = each_tokens
    return changes


def _prompts(content: Mapping[str, Any]) -> int:
    prompt, embeds = content.get("prompt"), content.get("prompt_embeds")
    several = len(embeds) if isinstance(embeds, list) else int(embeds is not None)
    if isinstance(prompt, list) and not all(isinstance(item, int) for item in prompt):
        return len(prompt) + several
    return max(1, several + int(prompt is not None and prompt != []))
