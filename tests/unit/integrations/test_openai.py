"""Requests, usage, estimates and refusals of the OpenAI API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallygate.client import Denial, Denied, MeteringError, Unreachable, Usage
from tallygate.integrations.openai.answer import MeteredAnswer, Reading
from tallygate.integrations.openai.errors import MEANINGS, refusal
from tallygate.integrations.openai.request_body import BadRequestError, Shape, capped, read_request
from tallygate.integrations.openai.usage import read_usage
from tallygate.integrations.openai.usage_options import StreamUsage
from tallygate.metering.v1 import decision_pb2


def body(**content: Any) -> bytes:
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("shape", "content", "choices", "limit"),
    [
        (Shape.CHAT, {}, 1, None),
        (Shape.CHAT, {"max_tokens": 9}, 1, 9),
        (Shape.CHAT, {"max_tokens": 9, "max_completion_tokens": 5, "n": 2}, 2, 18),
        (Shape.CHAT, {"max_tokens": "9", "n": "2"}, 2, 18),
        (Shape.CHAT, {"max_tokens": True, "n": None}, 1, 1),
        (Shape.CHAT, {"max_tokens": 1 << 80}, 1, 100_000_000),
        (Shape.COMPLETION, {"max_tokens": 4, "best_of": 3, "prompt": ["a", "b"]}, 6, 24),
        (Shape.COMPLETION, {"max_tokens": 4, "prompt": [1, 2, 3]}, 1, 4),
        (Shape.COMPLETION, {"max_tokens": 4, "prompt": [[1, 2], [3]]}, 2, 8),
        (Shape.COMPLETION, {"max_tokens": 4.0, "n": 2, "prompt_embeds": ["", ""], "prompt": "a"}, 6, 24),
        (Shape.CHAT, {"max_tokens": 4, "n": 2, "use_beam_search": True, "beam_width": 5}, 5, 20),
        (Shape.CHAT, {"max_tokens": 0}, 1, None),
        (Shape.CHAT, {"max_tokens": -1, "max_completion_tokens": 7}, 1, None),
        (Shape.CHAT, {"max_tokens": 4, "n": -3}, 1, 4),
        (Shape.RESPONSE, {"max_output_tokens": 6}, 1, 6),
        (Shape.EMBEDDING, {"input": "x"}, 1, 0),
    ],
)
def test_what_a_request_may_generate(shape: Shape, content: dict[str, Any], choices: int, limit: int | None) -> None:
    """Over all choices and prompts; numbers as lax servers read them."""
    parsed = read_request(shape, body(**content))
    assert (parsed.choices, parsed.max_output_tokens) == (choices, limit)


def test_a_stream_is_made_to_say_its_usage() -> None:
    """The client's bytes stay, unless it said something about that itself; what it had not asked for is hidden."""
    plain = body(stream=True, messages=[])
    parsed = read_request(Shape.CHAT, plain + b" \n")
    both = {"include_usage": True, "continuous_usage_stats": True}
    assert parsed.body == plain[:-1] + b',"stream_options":{"include_usage":true,"continuous_usage_stats":true}}'
    assert (parsed.wants_usage, parsed.hides_usage, parsed.hides_running) == (False, True, True)
    for said in (None, {}, {"include_usage": False, "continuous_usage_stats": True}):
        parsed = read_request(Shape.COMPLETION, body(stream=True, stream_options=said))
        assert json.loads(parsed.body)["stream_options"] == both
        assert (parsed.hides_usage, parsed.hides_running) == (True, True)
    parsed = read_request(Shape.CHAT, body(stream=True, stream_options={"include_usage": True}))
    assert json.loads(parsed.body)["stream_options"] == both
    assert (parsed.wants_usage, parsed.hides_usage, parsed.hides_running) == (True, False, True)
    wanted = body(stream=True, stream_options=both)
    parsed = read_request(Shape.CHAT, wanted)
    assert (parsed.body, parsed.wants_usage, parsed.hides_usage, parsed.hides_running) == (wanted, True, False, False)


def test_how_usage_is_asked_for_is_a_setting() -> None:
    """Servers that know no running usage are asked for usage at the end; others not at all, or say it anyway."""
    plain = body(stream=True)
    final = read_request(Shape.CHAT, plain, StreamUsage.FINAL)
    assert final.body == plain[:-1] + b',"stream_options":{"include_usage":true}}'
    assert (final.hides_usage, final.hides_running) == (True, False)
    halved = read_request(
        Shape.CHAT, body(stream=True, stream_options={"continuous_usage_stats": True}), StreamUsage.FINAL
    )
    assert (halved.hides_usage, halved.hides_running) == (True, True), "it now counts for something"
    none = read_request(Shape.CHAT, plain, StreamUsage.NONE)
    assert (none.body, none.wants_usage, none.hides_usage, none.hides_running) == (plain, False, False, False)
    forced = read_request(Shape.CHAT, plain, StreamUsage.FORCED)
    assert (forced.body, forced.wants_usage, forced.hides_usage, forced.hides_running) == (plain, True, False, False)


@pytest.mark.parametrize("shape", [Shape.RESPONSE, Shape.EMBEDDING])
def test_other_requests_pass_as_they_are(shape: Shape) -> None:
    """Those APIs say their usage without being asked."""
    raw = body(stream=True, model="m", store=False)
    assert read_request(shape, raw).body is raw
    assert read_request(Shape.CHAT, body(stream=False)).body == body(stream=False)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, body(model=7), body(background=True)])
def test_what_cannot_be_read_cannot_run(raw: bytes) -> None:
    """A body that is not understood here might be understood by the server, and would run unmetered."""
    with pytest.raises(BadRequestError):
        read_request(Shape.RESPONSE, raw)


def test_a_server_is_told_how_little_is_left() -> None:
    """The limit is lowered, never raised, and shared among the choices."""
    parsed = read_request(Shape.CHAT, body(n=2, max_completion_tokens=50))
    assert json.loads(capped(parsed, 21)) == {"n": 2, "max_completion_tokens": 10}
    assert json.loads(capped(parsed, 500))["max_completion_tokens"] == 50
    assert json.loads(capped(read_request(Shape.CHAT, body()), 7)) == {"max_tokens": 7}
    assert json.loads(capped(read_request(Shape.CHAT, body(max_tokens=0)), 7)) == {"max_tokens": 7}


def test_linked_limits_are_lowered_together() -> None:
    """A server refuses a minimum above the maximum, and may read either of two maxima."""
    parsed = read_request(Shape.CHAT, body(max_tokens=60, max_completion_tokens=50, min_tokens=40))
    assert json.loads(capped(parsed, 14)) == {"max_tokens": 14, "max_completion_tokens": 14, "min_tokens": 14}
    assert json.loads(capped(parsed, 55)) == {"max_tokens": 55, "max_completion_tokens": 50, "min_tokens": 40}


def test_a_whole_answer_has_to_be_of_use() -> None:
    """At least 16 tokens, or what is asked for, for each answer."""
    assert read_request(Shape.CHAT, body()).min_output_tokens == 16
    assert read_request(Shape.CHAT, body(n=3, min_tokens=40)).min_output_tokens == 120
    assert read_request(Shape.EMBEDDING, body()).min_output_tokens == 0


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


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_usage_is_found_wherever_it_stands_in_a_long_answer(place: str) -> None:
    """It is that of the answer, and not what only looks like it; little of the answer is kept."""
    usage = b'"usage": {"prompt_tokens":4000,"completion_tokens":1}'
    many = (
        b'"prompt_logprobs":['
        + b",".join([b'{"7":{"logprob":-0.5,"text":"\\"usage\\":{"},"usage":{"n":1}}'] * 30_000)
        + b"]"
    )
    texts = b'"choices":[{"text":"\\"usage\\": {\\"prompt_tokens\\":9}"}]'
    members = {"first": [usage, many, texts], "middle": [texts, usage, many], "last": [texts, many, usage]}[place]
    long = b"{" + b",".join(members) + b"}"
    assert len(long) > 1_200_000
    answer = MeteredAnswer()
    for at in range(0, len(long), 65_536):
        answer.feed(long[at : at + 65_536])
    assert answer.read() == Reading(Usage(4_000, output_tokens=1), 0, is_refusal=False)


def test_an_answer_without_usage_is_estimated_by_its_texts() -> None:
    """A token for four bytes."""
    short = MeteredAnswer()
    short.feed(body(choices=[{"message": {"role": "assistant", "content": "12345678", "tool_calls": [{"name": "x"}]}}]))
    assert short.read() == Reading(None, 3, is_refusal=False)


@pytest.mark.parametrize("size", [10, 400_000])
def test_an_error_with_any_status_is_a_refusal(size: int) -> None:
    """Some servers answer with 200 and an error: that costs what the error costs."""
    answer = MeteredAnswer()
    answer.feed(body(error={"message": "x" * size, "code": 400}))
    assert answer.read().is_refusal


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
