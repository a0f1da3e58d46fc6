"""Where servers put their usage, and usage that they say in parts."""

from __future__ import annotations

from typing import Any

import pytest

from tallygate.client import Usage
from tallygate.integrations.openai.reported_usage import EventCounts, ReportedUsage
from tallygate.integrations.openai.usage import find_block
from tests.harness.asgi.usage_objects import cached, chat, thought

BLOCK = chat(10, 5, 15)
ZERO = chat(0, 0, 0)
WRONG_BLOCK = chat(-1, 5)


@pytest.mark.parametrize(
    ("answer", "block"),
    [
        ({"id": "x", "usage": BLOCK}, BLOCK),
        ({"choices": [{"usage": BLOCK}], "usage": None}, BLOCK),
        ({"choices": [{"usage": BLOCK}], "usage": ZERO}, BLOCK),
        ({"type": "message_start", "message": {"usage": BLOCK}}, BLOCK),
        ({"type": "message_delta", "delta": {}, "usage": BLOCK}, BLOCK),
        ({"type": "response.completed", "response": {"usage": BLOCK}}, BLOCK),
        ({"type": "message-end", "delta": {"usage": BLOCK}}, BLOCK),
        ({"x_groq": {"id": "x", "usage": BLOCK}}, BLOCK),
        ({"candidates": [], "usageMetadata": {"promptTokenCount": 3}}, {"promptTokenCount": 3}),
        ({"metadata": {"usage": {"inputTokens": 3}}}, {"inputTokens": 3}),
        (
            {"meta": {"api_version": {}, "billed_units": {"input_tokens": 3}}},
            {"api_version": {}, "billed_units": {"input_tokens": 3}},
        ),
        ({"response": {"meta": {"tokens": {"input_tokens": 3}}}}, {"tokens": {"input_tokens": 3}}),
        ({"text": "Hi", "meta_info": BLOCK}, BLOCK),
        ({"generated_text": "Hi", "details": {"generated_tokens": 3}}, {"generated_tokens": 3}),
        ({"done": True, "eval_count": 3}, {"done": True, "eval_count": 3}),
        (
            {"content": "Hi", "tokens_predicted": 3, "timings": {"predicted_n": 3}},
            {"content": "Hi", "tokens_predicted": 3, "timings": {"predicted_n": 3}},
        ),
        ({"choices": [], "timings": {"prompt_n": 3, "predicted_n": 1}}, {"prompt_n": 3, "predicted_n": 1}),
        ({"choices": [], "usage": BLOCK, "timings": {"prompt_n": 3}}, BLOCK),
        ({"usage": ZERO}, ZERO),
        ({"usage": WRONG_BLOCK}, WRONG_BLOCK),
        ({"usage": WRONG_BLOCK, "x_groq": {"usage": BLOCK}}, BLOCK),
        ({"usage": None, "choices": []}, None),
        ({"usage": {}, "choices": [7]}, None),
        ({"choices": {"0": 5}}, None),
        # An answer of counting is no usage, nor is a text that looks like it.
        ({"input_tokens": 14}, None),
        ({"total_tokens": 14, "details": []}, None),
        ({}, None),
    ],
)
def test_a_block_is_found_wherever_servers_put_it(answer: dict[str, Any], block: object) -> None:
    """In whole answers, chunks and events."""
    assert find_block(answer) == block


@pytest.mark.parametrize(
    ("first", "last", "merged"),
    [
        (chat(1_000, 1), chat(0, 50), Usage(1_000, 0, 0, 50, 0)),
        (chat(1_000, 1, 1_001), chat(0, 50, 1_050), Usage(1_000, 0, 0, 50, 0)),
        (chat(1_000, 1, 1_001), chat(0, 50, 50), Usage(1_000, 0, 0, 50, 0)),
        (chat(1_000, 1), {"completion_tokens": 50}, Usage(1_000, 0, 0, 50, 0)),
        (chat(1_000, 1), chat(1_000, 50, **cached(960), **thought(20)), Usage(40, 960, 0, 30, 20)),
        (chat(1_000, 40, **thought(30)), chat(1_000, 41), Usage(1_000, 0, 0, 11, 30)),
        (
            {"input_tokens": 3, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 100, "output_tokens": 1},
            {"output_tokens": 50},
            Usage(3, 900, 100, 50, 0),
        ),
        # vLLM says only at the end of a stream of messages how much was cached.
        (
            {"input_tokens": 1_000, "output_tokens": 0},
            {"input_tokens": 40, "cache_read_input_tokens": 960, "output_tokens": 50},
            Usage(40, 960, 0, 50, 0),
        ),
    ],
)
def test_usage_in_two_halves_is_put_together(first: dict[str, Any], last: dict[str, Any], merged: Usage) -> None:
    """The last of each count, and what one half leaves out from the other."""
    said = ReportedUsage(None, 1, pytest.fail)
    for block in (first, last):
        said.take(EventCounts(total=block))
    assert said.usage == merged
