"""The limits of what a request may generate, and the fields by which they are lowered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallygate.integrations.openai.request_facts import facts_of, makes_output, parameters, prompt_count
from tallygate.integrations.openai.request_json import read_count
from tallygate.integrations.shapes import Shape

_CHOICE_FIELDS = ("n", "best_of", "beam_width", "num_beams")

SMALLEST_ANSWER_TOKENS = 16
"""Minimum of an answer that is of use to anybody; an answer that comes as a whole is refused if less is left."""
_BUDGET = "budget_tokens"
_TOKENS_MAX = 100_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits in a request of what it may generate.

    Attributes:
        prompts: Number of prompts.
        choices: Number of answers that are generated, over all prompts.
        max_output_tokens: Maximum number of tokens, over all choices; None where nothing limits them. A limit of zero
            or less is none: some servers take it for that.
        min_output_tokens: Minimum number of tokens, over all choices, with which a whole answer is of use.
    """

    prompts: int
    choices: int
    max_output_tokens: int | None
    min_output_tokens: int


def count_fields(shape: Shape) -> tuple[str, ...]:
    """The fields of a kind that limit what is generated."""
    facts = facts_of(shape)
    return (*facts.limits, *_CHOICE_FIELDS, facts.smallest) if facts.limits else ()


def read_limits(shape: Shape, content: Mapping[str, Any]) -> Limits:
    """Reads what limits a request.

    Raises:
        BadRequestError: A field is not a whole number.
    """
    if not makes_output(shape):
        return Limits(prompts=1, choices=1, max_output_tokens=0, min_output_tokens=0)
    facts, said = facts_of(shape), parameters(shape, content)
    if facts.cuts_input and content.get("stream") is True:
        # Nothing limits it as a whole. Its parts come one after another, and it is ended when it must stop.
        return Limits(prompts=1, choices=1, max_output_tokens=None, min_output_tokens=SMALLEST_ANSWER_TOKENS)
    prompts = prompt_count(shape, content)
    each = max(1, *(read_count(said, name) or 1 for name in _CHOICE_FIELDS))
    choices = min(prompts * each, _TOKENS_MAX)
    limits = [limit for name in facts.limits if (limit := read_count(said, name)) is not None]
    is_limited = bool(limits) and min(limits) > 0
    smallest = max(SMALLEST_ANSWER_TOKENS, read_count(said, facts.smallest) or 0)
    return Limits(
        prompts=prompts,
        choices=choices,
        max_output_tokens=min(max(limits) * choices, _TOKENS_MAX) if is_limited else None,
        min_output_tokens=min(smallest * choices, _TOKENS_MAX),
    )


def lowered(shape: Shape, content: Mapping[str, Any], each_tokens: int) -> dict[str, Any]:
    """The fields to change so that no answer has more than `tokens`, with all that is linked to the limit."""
    facts, said = facts_of(shape), parameters(shape, content)
    present = {name: limit for name in facts.limits if (limit := read_count(said, name)) is not None}
    changes: dict[str, Any] = {
        name: min(each_tokens, limit) if limit > 0 else each_tokens for name, limit in present.items()
    }
    changes = changes or {facts.limits[-1]: each_tokens}
    smallest = read_count(said, facts.smallest)
    if smallest is not None and smallest > each_tokens:
        changes[facts.smallest] = each_tokens
    thinking = said.get("thinking")
    budget = thinking.get(_BUDGET) if isinstance(thinking, Mapping) else None
    if isinstance(thinking, Mapping) and isinstance(budget, int) and budget >= each_tokens:
        # Servers refuse a budget for thinking that is not below the limit.
        changes["thinking"] = {**thinking, _BUDGET: max(1, each_tokens - 1)}
    return {facts.within: {**said, **changes}} if facts.within else changes
