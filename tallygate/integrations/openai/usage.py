"""A server's own usage block, as Tallygate counts: in kinds that are disjoint, whatever the server's dialect."""

from __future__ import annotations

from collections.abc import Mapping

from tallygate.client import Usage
from tallygate.integrations.openai.usage_blocks import COUNT_MAX, follow, has_bare_usage, read_block
from tallygate.integrations.openai.usage_dialects import PLACES

_PLAIN_FIELDS = 3
"""Number of fields of a block that has two counts and their total, as of vLLM in each chunk."""
_NO_COUNTS = {"prompt_eval_count": 0, "eval_count": 0}
_LOADED = {"load", "unload"}
"""Reasons for which Ollama is done where it generated nothing, as of api/types.go."""
_PATHS = tuple(tuple(place.split(".")) if place else () for place in PLACES)


def read_usage(block: object) -> Usage | None:
    """Reads a usage block of any dialect; None if it is none, or says a number of tokens that cannot be."""
    if isinstance(block, dict) and len(block) == _PLAIN_FIELDS and (plain := _plain_totals(block)) is not None:
        return Usage(plain[0], 0, 0, plain[1], 0)
    return read_block(block)[0] if isinstance(block, Mapping) else None


def usage_problem(block: object) -> str:
    """What is wrong with a usage block, in a few words, such as "completion_tokens is -1"; empty if nothing is.

    A count that only says how much of another one was cached, written or reasoning is left out where it cannot be;
    with any other one, `read_usage` returns None.
    """
    return read_block(block)[1] if isinstance(block, Mapping) else ""


def find_block(answer: Mapping[str, object]) -> object:
    """The usage block of a whole answer, a chunk or an event, wherever it lies; None if there is none.

    The first that says any tokens; else the first that says none; else one that says what cannot be. Of Ollama's answer
    to a request that ran no model, one of zeros.
    """
    empty: object = None
    refused: object = None
    for path in _PATHS:
        block = follow(answer, path)
        if not isinstance(block, Mapping) or not (path or has_bare_usage(answer)):
            continue
        usage, problem = read_block(block)
        if usage is not None and usage.total_tokens:
            return block
        if usage is not None:
            empty = empty or block
        elif problem:
            refused = refused or block
    return empty or refused or (_NO_COUNTS if _ran_nothing(answer) else None)


def write_usage(usage: Usage, *, responses: bool = False) -> dict[str, object]:
    """A usage block as the chat API writes it, or the responses API."""
    went_in, came_out = ("input", "output") if responses else ("prompt", "completion")
    input_details = {"cached_tokens": usage.cached_input_tokens}
    if usage.cache_write_tokens:
        input_details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        f"{went_in}_tokens": usage.input_class_tokens,
        f"{went_in}_tokens_details": input_details,
        f"{came_out}_tokens": usage.output_class_tokens,
        f"{came_out}_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _ran_nothing(answer: Mapping[str, object]) -> bool:
    """Whether Ollama loaded its model, or let it go; SGLang (0.5.23) says null of both counts where it ran nothing."""
    if answer.get("done") is not True:
        return False
    return answer.get("done_reason") in _LOADED or all(answer.get(name, "") is None for name in _NO_COUNTS)


def _plain_totals(block: dict[str, object]) -> tuple[int, int] | None:
    """What went in and came out, by the names of the chat API; None unless they add up to a total.

    Only where they do, everything else is a part of them.
    """
    went_in, came_out = block.get("prompt_tokens"), block.get("completion_tokens")
    if type(went_in) is int and type(came_out) is int and went_in >= 0 and came_out >= 0:
        total = went_in + came_out
        if 0 < total <= COUNT_MAX and total == block.get("total_tokens"):
            return went_in, came_out
    return None
