"""A server's own usage block, as Tallygate counts: in kinds that are disjoint."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from tallygate.client import Usage

_USAGE_KEY = re.compile(rb'"usage"\s*:\s*(?=\{)')


def read_usage(block: object) -> Usage | None:
    """Reads a usage block of any of the four APIs; None if it is none.

    The API's `prompt_tokens` include those that were cached, and its `completion_tokens` include those for reasoning.
    """
    if not isinstance(block, Mapping):
        return None
    names = ("prompt", "completion") if "prompt_tokens" in block else ("input", "output")
    went_in, came_out = (_count(block.get(f"{name}_tokens")) for name in names)
    if went_in is None:
        return None
    in_details, out_details = (_mapping(block.get(f"{name}_tokens_details")) for name in names)
    cached = min(_count(in_details.get("cached_tokens")) or 0, went_in)
    written = min(_count(in_details.get("cache_write_tokens")) or 0, went_in - cached)
    # SGLang says it beside the details, not in them.
    reasoning = _count(out_details.get("reasoning_tokens")) or _count(block.get("reasoning_tokens")) or 0
    came_out = came_out or 0
    reasoning = min(reasoning, came_out)
    return Usage(went_in - cached - written, cached, written, came_out - reasoning, reasoning)


Said = tuple[object, int, int]
"""A usage block, and how much went in and came out by it, of all kinds."""


def read_totals(block: object) -> Said | None:
    """The totals of a usage block; None where `read_usage` says None. Cheaper, for servers that say it all the time."""
    if isinstance(block, dict):
        went_in, came_out = block.get("prompt_tokens"), block.get("completion_tokens")
        if type(went_in) is int and type(came_out) is int and went_in >= 0 and came_out >= 0:
            return block, went_in, came_out
    usage = read_usage(block)
    return None if usage is None else (block, usage.input_class_tokens, usage.output_class_tokens)


def find_usage(tail: bytes) -> Usage | None:
    """Finds the last usage block in the end of an answer that is too long to be parsed."""
    for match in reversed(list(_USAGE_KEY.finditer(tail))):
        try:
            block, _ = json.JSONDecoder().raw_decode(tail[match.end() :].decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            continue
        usage = read_usage(block)
        if usage is not None:
            return usage
    return None


def write_usage(usage: Usage, *, responses: bool = False) -> dict[str, object]:
    """A usage block as the chat API writes it, or the responses API."""
    went_in, came_out = ("input", "output") if responses else ("prompt", "completion")
    return {
        f"{went_in}_tokens": usage.input_class_tokens,
        f"{went_in}_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        f"{came_out}_tokens": usage.output_class_tokens,
        f"{came_out}_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
