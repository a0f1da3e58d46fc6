"""Usage blocks as servers write them, dialect by dialect, and what is read from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tallygate.client import Usage
from tallygate.integrations.openai.usage import read_usage, usage_problem
from tallygate.integrations.openai.usage_blocks import COUNT_MAX
from tallygate.integrations.openai.usage_dialects import DIALECTS
from tests.harness.asgi.usage_objects import cached, chat, thought

CHAT = "OpenAI chat and completions"
DEEPSEEK = "DeepSeek, without prompt_tokens"
ANTHROPIC = "Anthropic"
RESPONSES = "OpenAI responses, images, speech"
BEDROCK = "Bedrock"
GEMINI = "Gemini"
COHERE = "Cohere"
OLLAMA = "Ollama"
LLAMA = "llama.cpp"
TIMINGS = "llama.cpp timings"
TGI = "TGI"

ONE_HOUR = {"ephemeral_5m_input_tokens": 90, "ephemeral_1h_input_tokens": 10}


CASES: list[tuple[str, dict[str, Any], Usage]] = [
    # OpenAI and vLLM: what was cached, written and reasoned lies inside.
    (CHAT, chat(1_000, 50, 1_050), Usage(1_000, 0, 0, 50, 0)),
    (CHAT, chat(1_000, 50, 1_050, **cached(960), **thought(30)), Usage(40, 960, 0, 20, 30)),
    (CHAT, chat(1_000, 50, 1_050, **cached(600, cache_write_tokens=300)), Usage(100, 600, 300, 50, 0)),
    (CHAT, chat(1_000, 50, 1_050, **cached(600, created_cache_tokens=300)), Usage(100, 600, 300, 50, 0)),
    (CHAT, chat(1_000, 50, 1_050, **cached(None, created_cache_tokens=1_000)), Usage(0, 0, 1_000, 50, 0)),
    (CHAT, chat(1_000, 50, 1_050, **cached(600, cache_creation_tokens=300)), Usage(100, 600, 300, 50, 0)),
    (CHAT, chat(1_000, 50, 1_050, **cached(0, cache_creation_input_tokens=300)), Usage(700, 0, 300, 50, 0)),
    (CHAT, chat(5, 3, 8, audio_tokens=2, **cached(0, audio_tokens=4)), Usage(5, 0, 0, 3, 0)),
    (CHAT, chat(5, None, 5, prompt_tokens_details=None), Usage(5)),
    # SGLang: reasoning beside the details, and in both.
    (CHAT, chat(5, 30, 35, reasoning_tokens=12, prompt_tokens_details=None), Usage(5, 0, 0, 18, 12)),
    (CHAT, chat(5, 30, 35, reasoning_tokens=12, **thought(12)), Usage(5, 0, 0, 18, 12)),
    (CHAT, {"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 8, "id": "x"}, Usage(1, 8, 0, 4, 0)),
    # xAI, and proxies before Gemini: reasoning beside the completion.
    (CHAT, chat(20, 5, 225, **thought(200)), Usage(20, 0, 0, 5, 200)),
    (CHAT, chat(20, 5, 225, reasoning_tokens=200), Usage(20, 0, 0, 5, 200)),
    (CHAT, chat(10_120, 1_499, 14_428, **cached(128), **thought(2_809)), Usage(9_992, 128, 0, 1_499, 2_809)),
    (CHAT, chat(21, 0, 81, **thought(60)), Usage(21, 0, 0, 0, 60)),
    (CHAT, chat(21, None, 81, **thought(60)), Usage(21, 0, 0, 0, 60)),
    (CHAT, chat(20, 5, **thought(200)), Usage(20, 0, 0, 5, 200)),
    # As much was cached as was thought: the rest of the total can only be one of them.
    (CHAT, chat(1_000, 5, 1_205, **cached(200), **thought(200)), Usage(800, 200, 0, 5, 200)),
    (CHAT, chat(20, 198, 623), Usage(20, 0, 0, 198, 405)),
    (CHAT, chat(20, 200, 220, **thought(200)), Usage(20, 0, 0, 0, 200)),
    (CHAT, chat(20, 200, 420, **thought(200)), Usage(20, 0, 0, 200, 200)),
    # Proxies before Anthropic: inside, as LiteLLM has it, or beside, as the total says.
    (CHAT, chat(1_003, 5, 1_008, cache_read_input_tokens=900), Usage(103, 900, 0, 5, 0)),
    (CHAT, chat(1_003, 5, 1_008, cache_creation=ONE_HOUR), Usage(903, 0, 100, 5, 0)),
    (
        CHAT,
        chat(3, 5, 1_008, cache_read_input_tokens=900, cache_creation_input_tokens=100),
        Usage(3, 900, 100, 5, 0),
    ),
    (CHAT, chat(3, 5, 1_108, **cached(900), **thought(200)), Usage(3, 900, 0, 5, 200)),
    # DeepSeek and Moonshot.
    (
        CHAT,
        chat(1_000, 7, 1_007, prompt_cache_hit_tokens=960, prompt_cache_miss_tokens=40),
        Usage(40, 960, 0, 7, 0),
    ),
    (CHAT, chat(1_000, 7, 1_007, prompt_cache_hit_tokens=960, **cached(0)), Usage(40, 960, 0, 7, 0)),
    (CHAT, chat(1_000, 7, 1_007, cached_tokens=960), Usage(40, 960, 0, 7, 0)),
    (
        DEEPSEEK,
        {"prompt_cache_hit_tokens": 960, "prompt_cache_miss_tokens": 40, "completion_tokens": 7, **thought(3)},
        Usage(40, 960, 0, 4, 3),
    ),
    # Mistral says its audio in seconds.
    (CHAT, chat(16, 34, 50, prompt_audio_seconds=12, num_cached_tokens=None), Usage(16, 0, 0, 34, 0)),
    # Embeddings, reranking: what goes in is all that there is.
    (CHAT, {"prompt_tokens": 12, "total_tokens": 12}, Usage(12)),
    (CHAT, {"prompt_tokens": 0, "total_tokens": 12}, Usage(12)),
    (CHAT, {"completion_tokens": 7, "total_tokens": 19}, Usage(12, 0, 0, 7, 0)),
    # Both families of names, one of them empty, as gateways fill them in.
    (CHAT, chat(10, 5, 15, input_tokens=0, output_tokens=0), Usage(10, 0, 0, 5, 0)),
    (RESPONSES, chat(0, 0, 0, input_tokens=10, output_tokens=5), Usage(10, 0, 0, 5, 0)),
    (
        RESPONSES,
        {
            "input_tokens": 8,
            "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
            "output_tokens": 6,
            "output_tokens_details": {"reasoning_tokens": 4},
            "total_tokens": 14,
        },
        Usage(5, 2, 1, 2, 4),
    ),
    (
        RESPONSES,
        {"input_tokens": 8, "output_tokens": 6, "total_tokens": 14, "input_token_details": {"cached_tokens": 2}},
        Usage(6, 2, 0, 6, 0),
    ),
    (
        RESPONSES,
        {
            "input_tokens": 20,
            "output_tokens": 5,
            "total_tokens": 225,
            "output_tokens_details": {"reasoning_tokens": 200},
        },
        Usage(20, 0, 0, 5, 200),
    ),
    (RESPONSES, {"input_tokens": 25, "output_tokens": 9}, Usage(25, 0, 0, 9, 0)),
    (RESPONSES, {"output_tokens": 9}, Usage(0, 0, 0, 9, 0)),
    (RESPONSES, {"output_tokens": 9, "total_tokens": 34}, Usage(25, 0, 0, 9, 0)),
    # Two names for what was cached: the details tell that it is OpenAI's block, not Anthropic's.
    (
        RESPONSES,
        {
            "input_tokens": 1_000,
            "output_tokens": 9,
            "cache_read_input_tokens": 960,
            "input_tokens_details": {"cached_tokens": 960},
        },
        Usage(40, 960, 0, 9, 0),
    ),
    (
        ANTHROPIC,
        {
            "input_tokens": 3,
            "cache_read_input_tokens": 900,
            "cache_creation_input_tokens": 100,
            "cache_creation": ONE_HOUR,
            "output_tokens": 5,
            "server_tool_use": {"web_search_requests": 1},
        },
        Usage(3, 900, 100, 5, 0),
    ),
    (ANTHROPIC, {"input_tokens": 3, "cache_creation": ONE_HOUR, "output_tokens": 5}, Usage(3, 0, 100, 5, 0)),
    (
        ANTHROPIC,
        {"input_tokens": 3, "cache_read_input_tokens": 900, "output_tokens": 5, "total_tokens": 8},
        Usage(3, 900, 0, 5, 0),
    ),
    (ANTHROPIC, {"input_tokens": 3, "cache_read_input_tokens": 0, "output_tokens": 5}, Usage(3, 0, 0, 5, 0)),
    (ANTHROPIC, {"cache_read_input_tokens": 900, "output_tokens": 5}, Usage(0, 900, 0, 5, 0)),
    (
        ANTHROPIC,
        {
            "input_tokens": 3,
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": 7,
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 30},
        },
        Usage(3, 7, 0, 20, 30),
    ),
    (
        BEDROCK,
        {
            "inputTokens": 4,
            "outputTokens": 355,
            "totalTokens": 10_614,
            "cacheReadInputTokens": 10_000,
            "cacheWriteInputTokens": 255,
        },
        Usage(4, 10_000, 255, 355, 0),
    ),
    (
        GEMINI,
        {
            "promptTokenCount": 20,
            "cachedContentTokenCount": 16,
            "candidatesTokenCount": 198,
            "thoughtsTokenCount": 405,
            "totalTokenCount": 623,
        },
        Usage(4, 16, 0, 198, 405),
    ),
    (GEMINI, {"promptTokenCount": 21, "thoughtsTokenCount": 60, "totalTokenCount": 81}, Usage(21, 0, 0, 0, 60)),
    (GEMINI, {"promptTokenCount": 20, "candidatesTokenCount": 5, "thoughtsTokenCount": 2}, Usage(20, 0, 0, 5, 2)),
    (
        GEMINI,
        {"promptTokenCount": 20, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "totalTokenCount": 25},
        Usage(20, 0, 0, 3, 2),
    ),
    (
        GEMINI,
        {"promptTokenCount": 20, "toolUsePromptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 34},
        Usage(29, 0, 0, 5, 0),
    ),
    (
        COHERE,
        {
            "billed_units": {"input_tokens": 5.0, "output_tokens": 418.0},
            "tokens": {"input_tokens": 71.0, "output_tokens": 418.0},
            "cached_tokens": 64.0,
        },
        Usage(7, 64, 0, 418, 0),
    ),
    (COHERE, {"billed_units": {"input_tokens": 5.0, "output_tokens": 9.0}}, Usage(5, 0, 0, 9, 0)),
    (COHERE, {"billed_units": {"input_tokens": 5}}, Usage(5)),
    (OLLAMA, {"model": "m", "done": True, "prompt_eval_count": 26, "eval_count": 298}, Usage(26, 0, 0, 298, 0)),
    (OLLAMA, {"done": True, "eval_count": 298}, Usage(0, 0, 0, 298, 0)),
    (
        LLAMA,
        {
            "content": "Hi",
            "tokens_evaluated": 237,
            "tokens_predicted": 35,
            "tokens_cached": 271,
            "timings": {"cache_n": 236, "prompt_n": 1, "predicted_n": 35},
        },
        Usage(1, 236, 0, 35, 0),
    ),
    (TIMINGS, {"cache_n": 236, "prompt_n": 1, "prompt_ms": 30.9, "predicted_n": 35}, Usage(1, 236, 0, 35, 0)),
    (TIMINGS, {"prompt_n": 26, "predicted_n": 35}, Usage(26, 0, 0, 35, 0)),
    (TGI, {"finish_reason": "length", "generated_tokens": 20, "input_length": 6}, Usage(6, 0, 0, 20, 0)),
    (TGI, {"generated_tokens": 20, "prefill": [{"id": 1}, {"id": 2}], "seed": None}, Usage(2, 0, 0, 20, 0)),
    (TGI, {"generated_tokens": 20, "prefill": []}, Usage(0, 0, 0, 20, 0)),
    ("", {"total_tokens": 12}, Usage(12)),
    ("", {"total_tokens": 0}, Usage()),
]


@pytest.mark.parametrize(("dialect", "block", "usage"), CASES)
def test_each_dialect_is_read_in_disjoint_kinds(dialect: str, block: dict[str, Any], usage: Usage) -> None:
    """What lies inside of what is told apart; the totals are the same."""
    assert dialect == "" or dialect in {row.name for row in DIALECTS}
    assert read_usage(block) == usage
    assert usage_problem(block) == ""


def test_every_dialect_has_a_case() -> None:
    """Nobody adds a row without showing what it reads."""
    assert {row.name for row in DIALECTS} <= {dialect for dialect, _, _ in CASES}


WRITTEN: dict[str, Callable[[int], object]] = {"float": float, "text": str, "text of a float": "{}.0".format}


def in_other_words(value: object, written: Callable[[int], object]) -> object:
    """The same block with its whole numbers written otherwise."""
    if isinstance(value, dict):
        return {name: in_other_words(item, written) for name, item in value.items()}
    return written(value) if type(value) is int else value


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(("block", "usage"), [case[1:] for case in CASES])
def test_whole_numbers_are_counts_however_they_are_written(block: dict[str, Any], usage: Usage, written: str) -> None:
    """As languages without integers write them."""
    assert read_usage(in_other_words(block, WRITTEN[written])) == usage


WRONG = [
    (-1, "-1"),
    (-1.0, "-1.0"),
    (1.5, "1.5"),
    (float("nan"), "nan"),
    (float("inf"), "inf"),
    (1e300, "1e+300"),
    (True, "True"),
    ("-1", "'-1'"),
    ("1.5", "'1.5'"),
    ("", "''"),
    (" 1", "' 1'"),
    ("1_0", "'1_0'"),
    ("\u0661", "'\\u0661'"),
    ("9" * 5_000, f"'{'9' * 40}'"),
    (COUNT_MAX + 1, "100000001"),
    (1 << 70, "too long a number"),
    ([], "of type list"),
    ({"a": 5}, "of type dict"),
]


@pytest.mark.parametrize(("wrong", "shown"), WRONG)
@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("prompt_tokens", {"completion_tokens": 3, "total_tokens": 8}),
        ("completion_tokens", {"prompt_tokens": 5, "total_tokens": 8}),
        ("input_tokens", {"output_tokens": 3}),
        ("output_tokens", {"input_tokens": 3}),
        ("cache_read_input_tokens", {"input_tokens": 3, "output_tokens": 3}),
        ("thoughtsTokenCount", {"promptTokenCount": 3, "candidatesTokenCount": 3}),
        ("eval_count", {"prompt_eval_count": 3}),
        ("inputTokens", {"outputTokens": 3}),
        ("total_tokens", {}),
    ],
)
def test_what_cannot_be_a_count_is_refused(name: str, block: dict[str, Any], wrong: object, shown: str) -> None:
    """The whole block counts as none, and it is said why."""
    said = {**block, name: wrong}
    assert read_usage(said) is None
    assert usage_problem(said) == f"{name} is {shown}"


@pytest.mark.parametrize(("wrong", "shown"), WRONG)
def test_a_part_that_cannot_be_is_left_out(wrong: object, shown: str) -> None:
    """What was cached or reasoned does not change how much there was, so the rest still holds."""
    said = chat(5, 3, 8, **cached(wrong), **thought(1))
    assert read_usage(said) == Usage(5, 0, 0, 2, 1)
    assert usage_problem(said) == f"prompt_tokens_details.cached_tokens is {shown}"


def test_a_class_is_not_more_than_a_report_may_say() -> None:
    """Though each of its parts might be."""
    block = {"input_tokens": COUNT_MAX, "cache_read_input_tokens": 1, "output_tokens": 1}
    assert read_usage(block) is None
    assert usage_problem(block) == "the input is 100000001"
    assert read_usage(chat(COUNT_MAX, COUNT_MAX)) == Usage(COUNT_MAX, 0, 0, COUNT_MAX, 0)
    block = {"promptTokenCount": 1, "candidatesTokenCount": COUNT_MAX, "thoughtsTokenCount": 1}
    assert usage_problem(block) == "the output is 100000001"


@pytest.mark.parametrize("block", [None, {}, [], "usage", 7, {"type": "duration", "seconds": 12}, {"tokens": 5}])
def test_what_says_no_tokens_is_no_usage(block: object) -> None:
    """And nothing is wrong with it."""
    assert read_usage(block) is None
    assert usage_problem(block) == ""


def test_parts_larger_than_the_whole_are_cut() -> None:
    """Where the total leaves no room for them outside."""
    assert read_usage(chat(5, 3, 8, **cached(9, cache_write_tokens=2), **thought(4))) == Usage(0, 5, 0, 0, 3)
