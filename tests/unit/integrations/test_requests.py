"""Requests are read as the server behind reads them, or refused: what is passed on is what was read."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.integrations.openai.request_body import BadRequestError, Shape, capped, read_request
from tallygate.integrations.openai.request_json import read_count, read_truth

SHAPES = [Shape.CHAT, Shape.COMPLETION, Shape.RESPONSE, Shape.EMBEDDING]
ODD = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats()
    | st.sampled_from(
        [*"01tTyYfFnN", "On", "off", "YES", "no", "True", "FALSE", " true", "", "2", "1.0", "5 ", "+5", "\u0661"]
    )
    | st.text(max_size=6)
    | st.lists(st.integers(), max_size=2)
)


def body(**content: Any) -> bytes:
    return json.dumps(content).encode()


def first_taken(raw: bytes) -> dict[str, Any]:
    """As readers read that take the first of two values."""
    return dict(json.loads(raw, object_pairs_hook=lambda pairs: dict(reversed(pairs))))


@given(ODD)
def test_truths_are_those_of_pydantic(value: object) -> None:
    """VLLM and SGLang read by it; what it refuses is refused."""
    try:
        ours: bool | None = read_truth({"stream": value}, "stream")
    except BadRequestError:
        ours = None
    theirs: bool | None = False
    if value is not None:
        with contextlib.suppress(pydantic.ValidationError):
            theirs = pydantic.TypeAdapter(bool).validate_python(value)
            assert ours is theirs
            return
        assert ours is None


@given(ODD)
def test_counts_are_those_of_pydantic_or_refused(value: object) -> None:
    """Never another number than the server reads."""
    try:
        ours = read_count({"n": value}, "n")
    except BadRequestError:
        return
    with contextlib.suppress(pydantic.ValidationError):
        assert ours == (None if value is None else pydantic.TypeAdapter(int).validate_python(value))


@pytest.mark.parametrize("value", ["YES", "On", "T", "y", "1", 1, 1.0, "true"])
@pytest.mark.parametrize("shape", [Shape.CHAT, Shape.COMPLETION, Shape.RESPONSE])
def test_what_is_true_in_other_words_is_passed_on_as_true(shape: Shape, value: object) -> None:
    """So that no server behind takes it for anything else."""
    parsed = read_request(shape, body(stream=value, echo=value, model="m"))
    content = json.loads(parsed.body)
    assert (parsed.streams, parsed.echoes, content["stream"], content["echo"]) == (True, True, True, True)


@pytest.mark.parametrize("field", ["stream", "echo", "background", "store", "use_beam_search"])
@pytest.mark.parametrize("value", ["maybe", 2, [], {}, "", 0.5, -1])
def test_what_is_neither_true_nor_false_is_refused(field: str, value: object) -> None:
    """One reader takes it for true, and another one for false."""
    with pytest.raises(BadRequestError) as refused:
        read_request(Shape.CHAT, body(**{field: value}))
    assert refused.value.param == field


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens", "n", "min_tokens", "best_of", "beam_width"])
@pytest.mark.parametrize("value", ["many", 1.5, [], {}, "", "1e3", "0x10"])
def test_what_is_no_count_is_refused(field: str, value: object) -> None:
    """A server that makes something else of it would make more than is held."""
    with pytest.raises(BadRequestError):
        read_request(Shape.CHAT, body(**{field: value}))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"a","model":"b"}',
        b'{"max_tokens":1,"max_tokens":5000}',
        b'{"stream":false,"\\u0073tream":true}',
        b'{"messages":[{"role":"user","content":"a","content":"b"}]}',
        b'{"stream_options":{"include_usage":true,"include_usage":false}}',
        b'{"tools":[{"function":{"name":"a","name":"b"}}]}',
    ],
)
@pytest.mark.parametrize("shape", [*SHAPES, Shape.OLLAMA_CHAT, Shape.VERTEX, Shape.COHERE_CHAT])
def test_a_key_twice_is_refused(shape: Shape, raw: bytes) -> None:
    """At every level: which one counts depends on the reader."""
    assert first_taken(raw) != json.loads(raw)
    with pytest.raises(BadRequestError, match="twice"):
        read_request(shape, raw)


@pytest.mark.parametrize("key", ["Stream", "MAX_TOKENS", "N", "Model", "\u017ftream", "max_to\u212aens"])
def test_a_key_in_other_letters_is_refused(key: str) -> None:
    """Some readers, such as that of Go, take it for the same."""
    with pytest.raises(BadRequestError, match="has to be written"):
        read_request(Shape.CHAT, body(**{key: 1}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused(number: str) -> None:
    """JSON has none of them, and readers that do take them differ."""
    with pytest.raises(BadRequestError):
        read_request(Shape.CHAT, f'{{"max_tokens":{number}}}'.encode())
    with pytest.raises(BadRequestError):
        read_request(Shape.CHAT, f'{{"temperature":[{number}]}}'.encode())


@pytest.mark.parametrize(
    "raw", ["{}".encode("utf-16"), '{"a":1}'.encode("utf-32-le"), b'{"a":"\xed\xa0\x80"}', b"\xef\xbb\xbf" * 2 + b"{}"]
)
def test_other_encodings_are_refused(raw: bytes) -> None:
    """Readers differ in whether they find them out."""
    with pytest.raises(BadRequestError):
        read_request(Shape.CHAT, raw)


def test_a_byte_order_mark_is_taken_off() -> None:
    """Some servers take it, and some do not."""
    plain = body(model="m", messages=[])
    assert read_request(Shape.CHAT, b"\xef\xbb\xbf" + plain).body == plain


@pytest.mark.parametrize("store", [{}, {"store": True}, {"store": None}, {"store": "yes"}])
def test_no_response_is_stored(store: dict[str, object]) -> None:
    """Whoever knows its id could read it."""
    parsed = read_request(Shape.RESPONSE, body(model="m", **store))
    assert json.loads(parsed.body) == {"model": "m", "store": False}
    assert json.loads(read_request(Shape.CHAT, body(model="m", store=True)).body)["store"] is False


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
def test_what_was_stored_is_not_there(field: str) -> None:
    """It would be somebody's."""
    for value in ("resp_1", "", {"id": "conv_1"}, 0):
        with pytest.raises(BadRequestError) as refused:
            read_request(Shape.RESPONSE, body(**{field: value}))
        assert refused.value.param == field
    assert read_request(Shape.RESPONSE, body(**{field: None})).model == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from(["messages", "metadata", "logit_bias", "user", "temperature"]), JSON),
    st.sampled_from(["true", True, 0, "off"]),
    st.sampled_from(SHAPES),
)
def test_what_has_to_be_written_again_keeps_all_values(content: dict[str, Any], stream: object, shape: Shape) -> None:
    """Great numbers, exact fractions and half surrogates, too; and what has not is passed on byte for byte."""
    written = json.loads(read_request(shape, body(stream=stream, **content)).body)
    assert {name: written[name] for name in content} == content
    raw = body(**content)
    passed = read_request(shape, raw).body
    assert passed == (raw[:-1] + (b"," if content else b"") + b'"store":false}' if shape is Shape.RESPONSE else raw)


@pytest.mark.parametrize("fields", [{"shape": Shape.EMBEDDING}, {"shape": Shape.INVOCATION}])
def test_embeddings_of_which_nobody_says_the_usage_are_refused(fields: dict[str, Shape]) -> None:
    """Bare vectors come for `bytes_only`; with `bytes`, vLLM says its usage in a header."""
    with pytest.raises(BadRequestError, match="bytes_only"):
        read_request(fields["shape"], body(model="m", input="x", encoding_format="bytes_only"))
    for other in ("bytes", "base64", "float"):
        read_request(fields["shape"], body(model="m", input="x", encoding_format=other))


@pytest.mark.parametrize(
    ("budget", "passed"), [(1_500, 499), (500, 499), (499, 499), (20, 20), ("x", "x"), (None, None)]
)
def test_a_budget_for_thinking_stays_below_the_limit(budget: object, passed: object) -> None:
    """It is lowered along with the limit, since servers refuse what cannot be."""
    thinking = {"type": "enabled", "budget_tokens": budget}
    parsed = read_request(Shape.MESSAGES, body(model="m", messages=[], max_tokens=2_000, thinking=thinking))
    said = json.loads(capped(parsed, 500))
    assert (said["max_tokens"], said["thinking"]) == (500, {**thinking, "budget_tokens": passed})


def test_parameters_that_are_null_are_none() -> None:
    """As if they were left out."""
    parsed = read_request(Shape.GENERATE, body(text="x", sampling_params=None))
    assert json.loads(capped(parsed, 9)) == {"text": "x", "sampling_params": {"max_new_tokens": 9}}


OLLAMA = [Shape.OLLAMA_CHAT, Shape.OLLAMA_GENERATE]


@pytest.mark.parametrize("shape", OLLAMA)
@pytest.mark.parametrize(
    ("fields", "streams", "limit"),
    [
        ({}, True, None),
        ({"stream": None, "options": None}, True, None),
        ({"stream": "no", "options": {"num_predict": "9"}}, False, 9),
        ({"stream": True, "options": {"num_predict": -1}, "max_tokens": 5}, True, None),
        ({"options": {"num_predict": -2}}, True, None),
        ({"options": {"num_predict": 0}}, True, None),
        ({"prompt": "", "messages": None, "stream": False}, False, 1),
    ],
)
def test_ollama_streams_unless_told_not_to(
    shape: Shape,
    fields: dict[str, object],
    streams: bool,
    limit: int | None,
) -> None:
    """And its limit stands in the options."""
    parsed = read_request(shape, body(**{"model": "m", "prompt": "x", "messages": [{"role": "user"}], **fields}))
    assert (parsed.streams, parsed.max_output_tokens, parsed.choices) == (streams, limit, 1)


@pytest.mark.parametrize(
    ("shape", "fields", "asks"),
    [
        (Shape.OLLAMA_CHAT, {"prompt": "x"}, False),
        (Shape.OLLAMA_CHAT, {"messages": [{"role": "user"}]}, True),
        (Shape.OLLAMA_GENERATE, {"messages": [{"role": "user"}], "keep_alive": 0, "suffix": "x"}, False),
        (Shape.OLLAMA_GENERATE, {"prompt": " "}, True),
        (Shape.OLLAMA_GENERATE, {"prompt": "", "system": "x"}, True),
    ],
)
def test_a_request_without_a_prompt_is_given_one_token(shape: Shape, fields: dict[str, object], asks: bool) -> None:
    """It loads a model; SGLang generates where there is a system prompt."""
    parsed = read_request(shape, body(model="m", **fields))
    assert parsed.max_output_tokens == (None if asks else 1)
    assert json.loads(parsed.body).get("options") == (None if asks else {"num_predict": 1})
