"""Chunks of an answer, put together, are the answer; and what cannot be told by chunks is not fetched as a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.integrations.openai import assembly
from tallygate.integrations.openai.assembly import Assembly
from tallygate.integrations.openai.request_body import read_request
from tallygate.integrations.shapes import Shape

BASE = {"id": "c-1", "created": 1, "model": "m"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
TEXTS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4)
ASKED = {"model": "m", "prompt": "a"}


@st.composite
def chats(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One choice of a chat, but for its index, and the pieces that say it."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    pieces: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}}]
    for name in draw(st.sets(st.sampled_from(["reasoning_content", "reasoning", "refusal", "content"]), min_size=1)):
        texts = draw(TEXTS)
        message[name] = "".join(texts)
        pieces += [{"delta": {name: text}} for text in texts]
    calls = []
    for at in range(draw(st.integers(0, 3))):
        texts = draw(TEXTS)
        call = {"id": f"call-{at}", "type": "function", "function": {"name": "f", "arguments": "".join(texts)}}
        calls.append(call)
        begin = {**call, "index": at, "function": {"name": "f", "arguments": ""}}
        rest = [{"index": at, "function": {"arguments": text}} for text in texts]
        pieces += [{"delta": {"tool_calls": [part]}} for part in (begin, *rest)]
    if calls:
        message["tool_calls"] = calls
    logprobs = None
    if draw(st.booleans()):
        entries = [{"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []} for _ in pieces[1:]]
        for piece, entry in zip(pieces[1:], entries, strict=True):
            piece["logprobs"] = {"content": [entry]}
        logprobs = {"content": entries}
    pieces.append({"delta": {}, "finish_reason": "stop", "stop_reason": 7})
    return {"message": message, "logprobs": logprobs, "finish_reason": "stop", "stop_reason": 7}, pieces


@st.composite
def completions(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same of the completions API."""
    texts = draw(TEXTS)
    pieces: list[dict[str, Any]] = []
    for at, text in enumerate(texts):
        tops = {"tokens": [text], "token_logprobs": [-1.0], "top_logprobs": [{"index": 0}], "text_offset": [at]}
        pieces.append({"text": text, "token_ids": [at], "logprobs": tops, "finish_reason": None})
    pieces[-1]["finish_reason"] = "length"
    logprobs = {
        "tokens": texts,
        "token_logprobs": [-1.0] * len(texts),
        "top_logprobs": [{"index": 0}] * len(texts),
        "text_offset": list(range(len(texts))),
    }
    ids = list(range(len(texts)))
    return {"text": "".join(texts), "token_ids": ids, "logprobs": logprobs, "finish_reason": "length"}, pieces


def event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


def assembled(shape: Shape, body: bytes, piece_bytes: int = 1_000) -> dict[str, Any]:
    """What comes of a body that arrives in such pieces."""
    whole = Assembly(shape)
    for at in range(0, len(body), piece_bytes):
        whole.feed(body[at : at + piece_bytes])
    return whole.close()


@given(st.data(), st.sampled_from([Shape.CHAT, Shape.COMPLETION]), st.integers(1, 200))
def test_chunks_put_together_are_the_answer(data: st.DataObject, shape: Shape, piece_bytes: int) -> None:
    """Whatever order choices take turns in, and wherever the body is cut."""
    said = data.draw(st.lists(chats() if shape is Shape.CHAT else completions(), min_size=1, max_size=3))
    turns = data.draw(st.permutations([at for at, (_, pieces) in enumerate(said) for _ in pieces]))
    left = [iter(pieces) for _, pieces in said]
    chunks = [{**BASE, "object": "x.chunk", "choices": [{"index": at, **next(left[at])}]} for at in turns]
    chunks.append({**BASE, "object": "x.chunk", "choices": [], "usage": USAGE, "system_fingerprint": "f"})
    body = b": hello\n\n" + b"".join(map(event, chunks)) + b"data: [DONE]\n\n"
    kind = "chat.completion" if shape is Shape.CHAT else "text_completion"
    choices = [{"index": at, **answer} for at, (answer, _) in enumerate(said)]
    expected = {**BASE, "object": kind, "choices": choices, "usage": USAGE, "system_fingerprint": "f"}
    assert assembled(shape, body, piece_bytes) == expected


def test_what_others_write() -> None:
    """Calls without an index, old calls of functions, lists, halves of a surrogate pair, an empty answer."""
    deltas: list[dict[str, Any]] = [
        {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]},
        {"tool_calls": [{"function": {"arguments": "}"}}]},
        {"tool_calls": [{"id": "b", "function": {"name": "g", "arguments": "1"}}]},
        {"function_call": {"name": "h", "arguments": "2"}},
        {"function_call": {"arguments": "3"}, "content": "\ud83d"},
        {"content": "\ude00"},
        {"parts": [{"type": "a", "text": "x"}, 1]},
        {"parts": [{"type": "b", "text": "y"}, {"index": 7, "text": "z"}]},
        {"parts": [{"index": 7, "text": "z"}, "w"]},
    ]
    body = b"".join(event({"choices": [{"delta": delta}]}) for delta in deltas)
    message = assembled(Shape.CHAT, body)["choices"][0]["message"]
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]]
    assert calls == [("f", "{}"), ("g", "1")]
    assert message["parts"] == [{"type": "a", "text": "x"}, 1, {"type": "b", "text": "y"}, {"text": "zz"}, "w"]
    assert message["function_call"] == {"name": "h", "arguments": "23"}
    assert json.loads(json.dumps(message["content"])) == "\U0001f600"
    empty = assembled(Shape.CHAT, event({"choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]}))
    assert empty["choices"][0]["message"] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"error": {"message": "no", "code": 400}}, 400),
        ({"error": {"message": "no", "code": "busy"}}, 500),
        ({"error": "no"}, 500),
        ({"object": "error", "message": "no", "code": 503}, 503),
        ({"error": {"message": "no", "code": 200}}, 500),
    ],
)
def test_an_error_keeps_its_status(said: dict[str, Any], status: int) -> None:
    """Where it has one."""
    whole = Assembly(Shape.CHAT)
    whole.feed(event(said))
    assert whole.error == (status, said)


@pytest.mark.parametrize(
    "piece", [{"delta": {"content": "x" * 500}}, {"logprobs": {"content": [{"token": "x" * 500}]}}]
)
def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch, piece: dict[str, Any]) -> None:
    """Texts and everything else; also one event that does not end."""
    monkeypatch.setattr(assembly, "KEPT_BYTES_MAX", 2_000)
    whole, endless = Assembly(Shape.CHAT), Assembly(Shape.CHAT)
    for _ in range(2):
        whole.feed(event({"choices": [piece]}))
    assert not whole.is_full
    whole.feed(event({"choices": [piece]}))
    whole.feed(event({"choices": [piece]}))
    endless.feed(b"data: " + b"x" * 2_000)
    assert (whole.is_full, endless.is_full) == (True, True)


@pytest.mark.parametrize(
    "more",
    [{"use_beam_search": True}, {"best_of": 2}, {"prompt_logprobs": 0}, {"stream_options": {}}, {"num_beams": 4}],
)
def test_what_a_stream_cannot_say_stays_whole(more: dict[str, Any]) -> None:
    """Its body is passed on as it came."""
    raw = json.dumps({**ASKED, **more}).encode()
    parsed = read_request(Shape.COMPLETION, raw, streams_whole=True)
    assert (parsed.body, parsed.streams, parsed.assembles) == (raw, False, False)


@pytest.mark.parametrize("more", [{}, {"stream": False}, {"stream": None, "n": 2, "best_of": 2}])
def test_a_whole_answer_is_asked_for_as_a_stream(more: dict[str, Any]) -> None:
    """With its usage."""
    parsed = read_request(Shape.COMPLETION, json.dumps({**ASKED, **more}).encode(), streams_whole=True)
    options = {"include_usage": True, "continuous_usage_stats": True}
    assert json.loads(parsed.body) == {**ASKED, **more, "stream": True, "stream_options": options}
    assert (parsed.streams, parsed.assembles, parsed.wants_usage) == (True, True, True)
