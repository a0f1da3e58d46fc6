"""What holds of usage whatever a server says."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tallygate.client import Usage
from tallygate.integrations.openai.usage import (
    find_block,
    read_usage,
    usage_problem,
    write_usage,
)
from tallygate.integrations.openai.usage_blocks import COUNT_MAX, read_block
from tallygate.integrations.openai.usage_dialects import DIALECTS

COUNTS = st.integers(0, 50)
SAID: st.SearchStrategy[Any] = (
    COUNTS
    | COUNTS.map(float)
    | COUNTS.map(str)
    | st.sampled_from(
        [None, True, -1, 1.5, float("nan"), float("inf"), "x", "", [], {}, COUNT_MAX, COUNT_MAX + 1, 1 << 70]
    )
)
FIELDS = sorted(
    {
        place
        for row in DIALECTS
        for column in (row.input, row.output, row.cached, row.written, row.reasoning, row.total, row.marks)
        for places in column
        for place in places.split("+")
    }
)


def nested(said: dict[str, Any]) -> dict[str, Any]:
    """A block from paths to what stands there."""
    block: dict[str, Any] = {}
    for path, value in said.items():
        first, _, last = path.partition(".")
        if not last:
            block.setdefault(first, value)
        elif last == "#":
            block[first] = [{}] * 3
        elif isinstance(block.setdefault(first, {}), dict):
            block[first]["ephemeral_5m_input_tokens" if last == "*" else last] = value
    return block


BLOCKS = st.dictionaries(st.sampled_from(FIELDS), SAID, max_size=8).map(nested)
PLAIN = st.dictionaries(
    st.sampled_from(["prompt_tokens", "completion_tokens", "total_tokens", "reasoning_tokens", "cached_tokens"]),
    st.integers(-1, 4) | SAID,
    max_size=5,
)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)


def kinds(usage: Usage) -> tuple[int, ...]:
    return (
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )


@given(BLOCKS | PLAIN)
def test_kinds_are_never_negative_and_classes_never_beyond_a_report(block: dict[str, Any]) -> None:
    """Whatever stands where: it is read or refused, never by an exception of its own."""
    usage = read_usage(block)
    if usage is None:
        return
    assert all(type(tokens) is int and tokens >= 0 for tokens in kinds(usage))
    assert max(usage.input_class_tokens, usage.output_class_tokens) <= COUNT_MAX


@given(BLOCKS | PLAIN)
def test_the_cheap_looks_say_what_the_thorough_one_says(block: dict[str, Any]) -> None:
    """The usage of a plain block, and whether there is any."""
    thorough, problem = read_block(block)
    assert read_usage(block) == thorough
    assert usage_problem(block) == problem


@given(BLOCKS)
def test_a_problem_is_one_short_line(block: dict[str, Any]) -> None:
    """It goes into a log, whatever the server wrote."""
    problem = usage_problem(block)
    assert len(problem) < 120
    assert problem.isprintable()


@given(USAGES, st.booleans())
def test_what_is_written_is_read_again(usage: Usage, responses: bool) -> None:
    """The block that a stopped stream ends with says what is recorded."""
    assert read_usage(json.loads(json.dumps(write_usage(usage, responses=responses)))) == usage


@given(
    st.dictionaries(st.sampled_from(["usage", "message", "choices", "meta", "timings", "x_groq", "details"]), BLOCKS)
)
def test_what_is_found_can_be_read_or_is_wrong(answer: dict[str, Any]) -> None:
    """Nothing is found that says nothing."""
    block = find_block(answer)
    assert block is None or read_usage(block) is not None or usage_problem(block)
