"""The dialects of usage: the count in each field of a usage block, and the counts that lie inside of others.

A row for each; docs/integrations/usage.md has the same table with its sources.
"""

from __future__ import annotations

from typing import NamedTuple


class Dialect(NamedTuple):
    """The way in which one family of servers reports its usage.

    A column lists the places where a count may stand; where several have it, the greatest counts. A place is a field, a
    path of fields with dots, or a sum of these with plus signs; `*` adds up all counts of an object, `#` is the length
    of a list.

    Attributes:
        name: Whose dialect it is.
        input: What went in.
        output: What came out.
        cached: What of the input was read from a cache.
        written: What of the input was written to a cache.
        reasoning: What came out as reasoning.
        total: All of it.
        cache_is_beside: `cached` and `written` come on top of `input`, whatever the total is. Elsewhere they are
            parts of it, unless the total is greater by just as much.
        reasoning_is_beside: `reasoning` comes on top of `output`. Elsewhere it is a part of it. In both cases unless
            the total shows otherwise.
        marks: Fields of which one must be there; empty if there need be none.
        unless: Fields of which none may be there.
        is_answer: The counts stand in the answer itself, with no block around them.
    """

    name: str
    input: tuple[str, ...]
    output: tuple[str, ...]
    cached: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    total: tuple[str, ...] = ()
    cache_is_beside: bool = False
    reasoning_is_beside: bool = False
    marks: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    is_answer: bool = False


_CACHE_WRITES = ("cache_write_tokens", "created_cache_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
_ANTHROPIC_CACHE = ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation")
_INPUT_DETAILS = ("input_tokens_details", "input_token_details", "prompt_tokens_details")


def _inside(details: tuple[str, ...], fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{detail}.{field}" for detail in details for field in fields)


DIALECTS = (
    Dialect(
        "OpenAI chat and completions",
        input=("prompt_tokens",),
        output=("completion_tokens",),
        cached=(
            *_inside(("prompt_tokens_details", "input_tokens_details"), ("cached_tokens",)),
            "cached_tokens",
            "prompt_cache_hit_tokens",
            "cache_read_input_tokens",
        ),
        written=(*_inside(("prompt_tokens_details",), _CACHE_WRITES), *_CACHE_WRITES, "cache_creation.*"),
        reasoning=(
            "completion_tokens_details.reasoning_tokens",
            "output_tokens_details.reasoning_tokens",
            "reasoning_tokens",
        ),
        total=("total_tokens",),
    ),
    Dialect(
        "DeepSeek, without prompt_tokens",
        input=("prompt_cache_hit_tokens+prompt_cache_miss_tokens",),
        output=("completion_tokens",),
        cached=("prompt_cache_hit_tokens",),
        reasoning=("completion_tokens_details.reasoning_tokens",),
    ),
    Dialect(
        "Anthropic",
        input=("input_tokens",),
        output=("output_tokens",),
        cached=("cache_read_input_tokens",),
        written=("cache_creation_input_tokens", "cache_creation.*"),
        reasoning=("output_tokens_details.thinking_tokens", "output_tokens_details.reasoning_tokens"),
        cache_is_beside=True,
        marks=_ANTHROPIC_CACHE,
        unless=_INPUT_DETAILS,
    ),
    Dialect(
        "OpenAI responses, images, speech",
        input=("input_tokens",),
        output=("output_tokens",),
        cached=(*_inside(_INPUT_DETAILS, ("cached_tokens",)), "cached_tokens", "cache_read_input_tokens"),
        written=(*_inside(_INPUT_DETAILS, _CACHE_WRITES), *_CACHE_WRITES),
        reasoning=(
            *_inside(("output_tokens_details",), ("reasoning_tokens", "thinking_tokens")),
            "output_token_details.reasoning_tokens",
            "completion_tokens_details.reasoning_tokens",
            "reasoning_tokens",
        ),
        total=("total_tokens",),
    ),
    Dialect(
        "Bedrock",
        input=("inputTokens",),
        output=("outputTokens",),
        cached=("cacheReadInputTokens",),
        written=("cacheWriteInputTokens",),
        cache_is_beside=True,
    ),
    Dialect(
        "Gemini",
        input=("promptTokenCount+toolUsePromptTokenCount",),
        output=("candidatesTokenCount",),
        cached=("cachedContentTokenCount",),
        reasoning=("thoughtsTokenCount",),
        total=("totalTokenCount",),
        reasoning_is_beside=True,
    ),
    Dialect(
        "Cohere",
        input=("tokens.input_tokens", "billed_units.input_tokens"),
        output=("tokens.output_tokens", "billed_units.output_tokens"),
        cached=("cached_tokens",),
    ),
    Dialect("Ollama", input=("prompt_eval_count",), output=("eval_count",), is_answer=True),
    Dialect(
        "llama.cpp",
        input=("tokens_evaluated",),
        output=("tokens_predicted",),
        cached=("timings.cache_n",),
        is_answer=True,
    ),
    Dialect("llama.cpp timings", input=("prompt_n+cache_n",), output=("predicted_n",), cached=("cache_n",)),
    Dialect("TGI", input=("input_length", "prefill.#"), output=("generated_tokens",)),
)
"""Dialects in the order in which they are tried."""

PLACES = (
    "usage",
    "choices.0.usage",
    "message.usage",
    "response.usage",
    "delta.usage",
    "x_groq.usage",
    "usageMetadata",
    "metadata.usage",
    "meta",
    "response.meta",
    "meta_info",
    "details",
    "",
    "timings",
)
"""Places of a block in an answer, a chunk or an event; the empty one is the answer itself."""
