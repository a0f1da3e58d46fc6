"""Requests, usage, estimates and refusals of the OpenAI API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallygate.client import Denial, Denied, MeteringError, Unreachable, Usage
from tallygate.integrations.openai.answer import WHOLE_BYTES_MAX, MeteredAnswer
from tallygate.integrations.openai.asked import BadRequestError, Shape, capped, read_request
from tallygate.integrations.openai.errors import MEANINGS, refusal
from tallygate.integrations.openai.estimate import TOKENS_PER_ATTACHMENT, estimate_input_tokens
from tallygate.integrations.openai.usage import read_usage
from tallygate.metering.v1 import decision_pb2


def body(**content: Any) -> bytes:
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("shape", "content", "choices", "limit"),
    [
        (Shape.CHAT, {}, 1, None),
        (Shape.CHAT, {"max_tokens": 9}, 1, 9),
        (Shape.CHAT, {"max_tokens": 9, "max_completion_tokens": 5, "n": 2}, 2, 10),
        (Shape.CHAT, {"max_tokens": "9", "n": "2"}, 2, 18),
        (Shape.CHAT, {"max_tokens": True, "n": None}, 1, None),
        (Shape.CHAT, {"max_tokens": 1 << 80}, 1, 100_000_000),
        (Shape.COMPLETION, {"max_tokens": 4, "best_of": 3, "prompt": ["a", "b"]}, 6, 24),
        (Shape.COMPLETION, {"max_tokens": 4, "prompt": [1, 2, 3]}, 1, 4),
        (Shape.COMPLETION, {"max_tokens": 4, "prompt": [[1, 2], [3]]}, 2, 8),
        (Shape.RESPONSE, {"max_output_tokens": 6}, 1, 6),
        (Shape.EMBEDDING, {"input": "x"}, 1, 0),
    ],
)
def test_what_a_request_may_generate(shape: Shape, content: dict[str, Any], choices: int, limit: int | None) -> None:
    """Over all choices and prompts; numbers as lax servers read them."""
    asked = read_request(shape, body(**content))
    assert (asked.choices, asked.max_output_tokens) == (choices, limit)


def test_a_stream_is_made_to_say_its_usage() -> None:
    """The client's bytes stay, unless it said something about that itself; usage is hidden unless it had asked."""
    plain = body(stream=True, messages=[])
    asked = read_request(Shape.CHAT, plain + b" \n")
    assert asked.body == plain[:-1] + b',"stream_options":{"include_usage":true}}'
    assert asked.hides_usage
    for said in (None, {}, {"include_usage": False, "continuous_usage_stats": True}):
        asked = read_request(Shape.COMPLETION, body(stream=True, stream_options=said))
        assert json.loads(asked.body)["stream_options"] == {**(said or {}), "include_usage": True}
        assert asked.hides_usage
    wanted = body(stream=True, stream_options={"include_usage": True})
    asked = read_request(Shape.CHAT, wanted)
    assert (asked.body, asked.wants_usage, asked.hides_usage) == (wanted, True, False)


@pytest.mark.parametrize("shape", [Shape.RESPONSE, Shape.EMBEDDING])
def test_other_requests_pass_as_they_are(shape: Shape) -> None:
    """Those APIs say their usage without being asked."""
    raw = body(stream=True, model="m")
    assert read_request(shape, raw).body is raw
    assert read_request(Shape.CHAT, body(stream=False)).body == body(stream=False)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, body(model=7), body(background=True)])
def test_what_cannot_be_read_cannot_run(raw: bytes) -> None:
    """A body that is not understood here might be understood by the server, and would run unmetered."""
    with pytest.raises(BadRequestError):
        read_request(Shape.RESPONSE, raw)


def test_a_server_is_told_how_little_is_left() -> None:
    """The limit is lowered, never raised, and shared among the choices."""
    asked = read_request(Shape.CHAT, body(n=2, max_completion_tokens=50))
    assert json.loads(capped(asked, 21)) == {"n": 2, "max_completion_tokens": 10}
    assert json.loads(capped(asked, 500))["max_completion_tokens"] == 50
    assert json.loads(capped(read_request(Shape.CHAT, body()), 7)) == {"max_tokens": 7}


@pytest.mark.parametrize(
    ("block", "usage"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 3}, Usage(5, output_tokens=3)),
        ({"prompt_tokens": 5, "total_tokens": 5}, Usage(5)),
        ({"prompt_tokens": 5, "completion_tokens": None, "prompt_tokens_details": None}, Usage(5)),
        (
            {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}},
            Usage(0, 5, output_tokens=3),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 3, "reasoning_tokens": 2}, Usage(5, 0, 0, 1, 2)),
        (
            {
                "input_tokens": 8,
                "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
                "output_tokens": 6,
                "output_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(5, 2, 1, 2, 4),
        ),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": True}, None),
        ({"prompt_tokens": 1.5}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_read_in_disjoint_kinds(block: object, usage: Usage | None) -> None:
    """What was cached is not input as well, what was thought is not output as well, and nonsense is no usage."""
    assert read_usage(block) == usage


def test_an_answer_that_is_too_long_to_parse_is_searched_from_its_end() -> None:
    """As of embeddings; with no usage in it, output is estimated from texts."""
    long = MeteredAnswer()
    for _ in range(40):
        long.feed(b'{"embedding":[0.1,0.2]},' * 1_000)
    long.feed(b'"usage"],"usage": {"prompt_tokens":12,"total_tokens":12}}')
    assert sum(map(len, long._kept)) < 2 * WHOLE_BYTES_MAX
    assert long.read() == (Usage(12), 0)
    short = MeteredAnswer()
    short.feed(body(choices=[{"message": {"role": "assistant", "content": "12345678", "tool_calls": [{"name": "x"}]}}]))
    assert short.read() == (None, 3)


def test_an_estimate_counts_texts_and_not_pictures() -> None:
    """A picture as a data URL is long, and takes few tokens."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "x" * 400}, picture]}]
    assert estimate_input_tokens({"messages": messages}) == 100 + TOKENS_PER_ATTACHMENT + 4
    assert estimate_input_tokens({"prompt": [[1, 2, 3], [4]]}) == 4
    assert estimate_input_tokens({"input": "x"}) == 1
    assert estimate_input_tokens({"model": "m"}) == 0


def test_every_reason_of_the_contract_has_a_meaning() -> None:
    """Nobody adds a reason and leaves what a client sees of it to chance."""
    names = {name.removeprefix("DECISION_REASON_") for name in decision_pb2.DecisionReason.keys()}  # noqa: SIM118
    assert names - {"UNSPECIFIED"} <= set(MEANINGS)


def headers_of(error: MeteringError) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in refusal(error).headers}


def test_a_refusal_says_when_to_try_again() -> None:
    """In whole seconds for everybody, in milliseconds for who reads that, and in the names of rate limits."""
    denial = Denial("TOKEN_RATE", "Slower.", retryable=True, retry_after_ms=1_200, remaining_tokens=40)
    headers = headers_of(Denied(denial))
    assert headers["retry-after"] == "2"
    assert headers["retry-after-ms"] == "1200"
    assert headers["x-ratelimit-remaining-tokens"] == "40"
    assert headers["x-ratelimit-reset-tokens"] == "1200ms"
    final = headers_of(Denied(Denial("RESERVATION_EXCEEDED", "Larger than a minute's worth.")))
    assert final["x-should-retry"] == "false"
    assert "retry-after" not in final
    assert headers_of(Unreachable("Nobody."))["retry-after"] == "1"


@pytest.mark.parametrize(("reason", "status"), [("REASON_21", 403), ("REASON_44", 503), ("", 500), ("NEW", 500)])
def test_a_reason_newer_than_this_version_is_told_by_its_family(reason: str, status: int) -> None:
    """Refused, or could not tell."""
    assert refusal(Denied(Denial(reason, "Why."))).status == status
