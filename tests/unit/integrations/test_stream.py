"""What is counted in a streamed answer, and what of it is passed on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.client import Usage
from tallygate.integrations.openai.request_body import ParsedRequest, Shape, read_request
from tallygate.integrations.openai.stream import MeteredStream

USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 7,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def parsed(shape: Shape = Shape.CHAT, **content: Any) -> ParsedRequest:
    return read_request(shape, json.dumps({"model": "m", "stream": True, **content}).encode())


def chunk(delta: Any = None, *, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}]
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def answer(*texts: str) -> bytes:
    pieces = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": text}) for text in texts)]
    return b"".join([*pieces, chunk({}, finish="stop"), chunk(usage=USAGE), b"data: [DONE]\n\n"])


def run(stream: MeteredStream, pieces: list[bytes]) -> bytes:
    return b"".join(stream.feed(piece) for piece in pieces) + stream.close()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_cut_at_any_byte_it_is_the_same_answer(end: bytes) -> None:
    """Counts, usage and what is passed on do not depend on where the body is cut."""
    body = answer("Hi", ' "quoted"', "\\", "é\n").replace(b"\n", end)
    shown = body.replace(chunk(usage=USAGE).replace(b"\n", end), b"")
    for at in range(len(body)):
        stream = MeteredStream(parsed(), "r")
        assert run(stream, [body[:at], body[at:]]) == shown
        assert (stream.tokens, stream.usage) == (7, Usage(6, 4, 0, 5, 2))


def test_usage_that_the_client_asked_for_is_shown() -> None:
    """Then the answer passes byte for byte."""
    stream = MeteredStream(parsed(stream_options={"include_usage": True}), "r")
    assert run(stream, [answer("Hi")]) == answer("Hi")
    assert stream.usage == Usage(6, 4, 0, 5, 2)


def test_usage_that_was_asked_for_is_shown_where_nothing_follows_it() -> None:
    """Also where it looks as running usage does, which is hidden: the chunk with it has no choices."""
    counts = {"prompt_tokens": 10, "total_tokens": 11, "completion_tokens": 1}
    stream = MeteredStream(parsed(stream_options={"include_usage": True}), "r")
    end = chunk(usage=counts)
    assert run(stream, [chunk({"content": "a"}, usage=counts), end]) == chunk({"content": "a"}) + end
    assert stream.usage == Usage(10, output_tokens=1)


TEXTS = st.text(max_size=12) | st.sampled_from(
    ['"', "\\", '\\"', '","x":"', "usage", '"usage', "\n\n", "data: ", '"}}]}\n\n', " the"]
)


@given(st.lists(st.tuples(st.sampled_from(["content", "reasoning_content", "refusal"]), TEXTS), max_size=20))
def test_counting_without_parsing_counts_the_same(deltas: list[tuple[str, str]]) -> None:
    """Whatever the texts are, each that is not empty counts once, as its kind."""
    stream = MeteredStream(parsed(), "r")
    for name, text in [*deltas, *deltas]:
        piece = chunk({name: text})
        assert stream.feed(piece) == piece
    count = 2 * sum(bool(text) for _, text in deltas)
    assert (stream.tokens, stream.reasoning) == (
        count,
        2 * sum(bool(text) for name, text in deltas if name == "reasoning_content"),
    )
    assert not stream.problem


def test_most_chunks_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stream of plain text, only the first chunks are."""
    stream = MeteredStream(parsed(n=3), "r")
    for index in range(3):
        stream.feed(chunk({"content": "x"}, index=index))
    monkeypatch.setattr(json, "loads", None)
    for index in (0, 1, 2, 1):
        stream.feed(chunk({"content": "word €"}, index=index))
    assert stream.tokens == 7


def test_pieces_of_several_tokens_count_as_many_where_the_server_says_so() -> None:
    """Token ids or log probabilities beside a text say how many tokens it has."""
    stream = MeteredStream(parsed(), "r")
    stream.feed(chunk({"content": "a b"}).replace(b'"logprobs":null', b'"token_ids":[1,2,3]'))
    stream.feed(chunk({"content": "a b"}).replace(b'"logprobs":null', b'"logprobs":{"content":[{},{}]}'))
    assert stream.tokens == 5


def test_tools_and_texts_in_one_chunk() -> None:
    """A call of a tool is output; a chunk without a choice, or with an empty delta, is nothing."""
    stream = MeteredStream(parsed(), "r")
    stream.feed(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}))
    stream.feed(chunk({"tool_calls": []}) + chunk({}) + chunk() + b": ping\n\n")
    assert stream.tokens == 1


def test_an_early_end_is_one_that_clients_know() -> None:
    """Each choice that was open ends with its length, then usage if it was wanted, then DONE."""
    stream = MeteredStream(parsed(n=3, stream_options={"include_usage": True}), "r")
    stream.feed(chunk({"content": "x"}, index=1) + chunk({}, index=0, finish="stop"))
    lines = stream.end(Usage(5, 0, 0, 1, 0)).decode().split("\n\n")
    ends = [json.loads(line.removeprefix("data: ")) for line in lines[:3]]
    assert [(end["id"], end["choices"]) for end in ends[:2]] == [
        ("c1", [{"index": index, "delta": {}, "logprobs": None, "finish_reason": "length"}]) for index in (1, 2)
    ]
    assert (ends[2]["choices"], ends[2]["usage"]["total_tokens"]) == ([], 6)
    assert lines[3:] == ["data: [DONE]", ""]


def test_the_last_usage_counts_and_not_the_greatest() -> None:
    """Running usage may run ahead of what is generated in the end."""
    stream = MeteredStream(parsed(), "r")
    stream.feed(chunk({"content": "x"}, usage={"prompt_tokens": 12, "completion_tokens": 40}))
    stream.feed(chunk(usage={"prompt_tokens": 12, "completion_tokens": 4}))
    assert (stream.usage, stream.since, stream.tokens) == (Usage(12, output_tokens=4), (0, 0), 40)


def test_details_that_only_one_block_has_are_kept() -> None:
    """Running usage says nothing of the cache; nor does a second block that has the same total."""
    cached = {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 8}}
    stream = MeteredStream(parsed(), "r")
    stream.feed(chunk({"content": "x"}, usage=cached))
    stream.feed(chunk(usage={"prompt_tokens": 10, "completion_tokens": 3}))
    assert stream.usage == Usage(2, 8, output_tokens=3)


def test_usage_in_two_halves_is_put_together() -> None:
    """What one half leaves out, the other one says."""
    stream = MeteredStream(parsed(), "r")
    stream.feed(chunk({"content": "x"}, usage={"prompt_tokens": 1_000, "completion_tokens": 1}))
    for _ in range(30):
        stream.feed(chunk({"content": "x"}))
    assert stream.since == (30, 0)
    stream.feed(chunk(usage={"prompt_tokens": 0, "completion_tokens": 50}))
    assert (stream.usage, stream.since) == (Usage(1_000, output_tokens=50), (0, 0))


@pytest.mark.parametrize("event", [b"data: {\n\n", b"data: 7\n\n", b'data: {"error": {"message": "no"}}\n\n'])
def test_what_is_broken_passes_and_is_noted(event: bytes) -> None:
    """Nothing that a server says is kept from its client because it makes no sense here."""
    stream = MeteredStream(parsed(), "r")
    assert stream.feed(event) == event
    assert stream.problem
