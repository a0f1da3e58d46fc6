"""What is taken from an event is the same, whichever road its JSON takes."""

from __future__ import annotations

import importlib
import json
import random
import sys
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallygate.client import Usage
from tallygate.integrations.openai import chat, events, responses
from tallygate.integrations.openai.event_types import Choice
from tallygate.integrations.openai.request_body import Shape, read_request
from tallygate.integrations.openai.stream import MeteredStream

COUNTS = st.integers(-1, 9) | st.sampled_from([None, True, 1.0, 1.5, "7", 1 << 70])
TEXTS = st.text(max_size=6) | st.sampled_from(['"usage":', '\\"usage\\":{', "\ud800", "é", "\n", "[DONE]", ""])
ANYTHING = st.recursive(
    st.none() | st.booleans() | COUNTS | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def some(fixed: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with most of these keys, in any order; at times one of another type, or one that nobody expects."""

    def mostly(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.integers(0, 9).flatmap(lambda chance: ANYTHING if chance == 9 else value)

    said = st.fixed_dictionaries({}, optional={key: mostly(value) for key, value in fixed.items()})
    return st.tuples(said, mostly(st.just({})), st.randoms(use_true_random=False)).map(_shuffled)


def _shuffled(parts: tuple[dict[str, Any], Any, random.Random]) -> dict[str, Any]:
    said, more, chance = parts
    pairs = [*said.items(), *({"more": more} if more != {} else {}).items()]
    chance.shuffle(pairs)
    return dict(pairs)


USAGE = some(
    {
        "prompt_tokens": COUNTS,
        "completion_tokens": COUNTS,
        "input_tokens": COUNTS,
        "output_tokens": COUNTS,
        "reasoning_tokens": COUNTS,
        "prompt_tokens_details": some({"cached_tokens": COUNTS}),
        "completion_tokens_details": some({"reasoning_tokens": COUNTS}),
    }
)
LOGPROBS = some({"content": st.lists(ANYTHING, max_size=3), "tokens": st.lists(TEXTS, max_size=3)})
DELTAS = some({"role": TEXTS, "content": TEXTS, "reasoning_content": TEXTS, "tool_calls": st.lists(ANYTHING)})
CHOICES = some(
    {
        "index": st.integers(0, 3),
        "delta": DELTAS,
        "text": TEXTS,
        "finish_reason": st.sampled_from([None, "stop"]),
        "logprobs": LOGPROBS,
        "token_ids": st.lists(st.integers(), max_size=3),
    }
)
CHUNKS = some({"id": TEXTS, "choices": st.lists(CHOICES, max_size=3), "usage": USAGE, "error": ANYTHING})
EVENTS = some(
    {
        "type": st.sampled_from(
            [
                "response.output_text.delta",
                "response.reasoning_text.delta",
                "response.function_call_arguments.delta",
                "response.output_item.added",
                "response.completed",
                "response.failed",
                "error",
            ]
        ),
        "sequence_number": st.integers(0, 5),
        "output_index": st.integers(0, 2),
        "delta": TEXTS,
        "item": some({"status": TEXTS, "type": st.just("message")}),
        "response": some({"id": TEXTS, "usage": USAGE}),
    }
)


@st.composite
def data_of(draw: st.DrawFn, said: st.SearchStrategy[Any]) -> bytes:
    """JSON as any server may write it, at times with a key twice, or with one byte that is wrong."""
    content = draw(said)
    style: dict[str, Any] = {"separators": draw(st.sampled_from([(",", ":"), (", ", ": ")]))}
    data = json.dumps(content, ensure_ascii=draw(st.booleans()), **style).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 3)) == 0 and data[:1] == b"{":
        again = json.dumps(draw(said), **style).encode()
        data = data[:-1] + (b"," if len(data) > 2 and len(again) > 2 else b"") + again[1:]
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 2)) :]
    return data.replace(b"\r", b" ").replace(b"\n", b" ")


def told(shape: Shape, pieces: list[bytes], *, asks: bool) -> object:
    """All that a stream says of these events."""
    options = {"stream_options": {"include_usage": True}} if asks else {}
    content = {"model": "m", "stream": True, "n": 2, **options}
    stream = MeteredStream(read_request(shape, json.dumps(content).encode()), "r")
    seen = []
    for piece in pieces:
        shown = stream.feed(piece)
        seen.append((shown, stream.tokens, stream.reasoning, stream.usage, stream.problem, stream.is_finished))
    try:
        end: object = json.loads(json.dumps(stream.end(Usage(1, output_tokens=stream.tokens)).decode()))
    except ValueError as error:
        end = str(error)
    return seen, end


@pytest.mark.parametrize("shape", [Shape.CHAT, Shape.COMPLETION, Shape.RESPONSE])
@given(data=st.data(), asks=st.booleans())
def test_both_roads_say_the_same_of_any_stream(shape: Shape, data: st.DataObject, asks: bool) -> None:
    """What is shown, counted, hidden, found wrong, and said at an early end, is the same after each event."""
    assert events.read_chunk is not events.plain_chunk, "without msgspec there is nothing to compare"
    said = EVENTS if shape is Shape.RESPONSE else CHUNKS
    each = data.draw(st.lists(data_of(said), max_size=4))
    name = b"event: x\n" if shape is Shape.RESPONSE else b""
    pieces = [name + b"data: " + content + b"\n\n" for content in each]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: 1.0)
        quickly = told(shape, pieces, asks=asks)
        patch.setattr(chat, "read_chunk", events.plain_chunk)
        patch.setattr(responses, "read_event", events.plain_event)
        plainly = told(shape, pieces, asks=asks)
    assert repr(quickly) == repr(plainly)


def facts(read: Any, data: bytes) -> object:
    """The facts of a chunk, or what is wrong with it; of log probabilities, their number."""
    try:
        chunk = read(data)
    except (ValueError, RecursionError) as error:
        return isinstance(error, events.NotAnObjectError)
    return (
        bool(chunk.error),
        chunk.usage,
        chunk.choices and [choice and choice_facts(choice) for choice in chunk.choices],
    )


def choice_facts(choice: Choice) -> object:
    said = chat._reported_tokens(choice)
    return choice.index, choice.delta, choice.text, choice.finish_reason, choice.token_ids, said


@given(data_of(CHUNKS | ANYTHING))
@example(b'{"choices":[{"delta":{"content":"\\"usage\\":{\\"prompt_tokens\\":1}"}}],"usage":null}')
@example(b'{"choices":[],"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":2,"completion_tokens":3}}')
@example(b'{"choices":[],"us\\u0061ge":{"prompt_tokens":2,"completion_tokens":3}}')
@example(b'{"choices":[{"delta":{},"x":"\xff"}]}')
@example(b'{"choices":[{"delta":{},"x":"\\ud800"}]}')
@example(b'{"choices":[{"index":1e999,"x":NaN}]}')
@example(b'\xef\xbb\xbf{"choices":[]}')
@example(b'{"error":null}')
@example(b'{"x":' + b"[" * 100_000)
@example(b"[]")
def test_both_roads_take_the_same_from_any_chunk(data: bytes) -> None:
    """Whatever is in it: another key in a string, a key twice, an escaped key, bytes that are not UTF-8."""
    assert repr(facts(events.read_chunk, data)) == repr(facts(events.plain_chunk, data))


def test_without_msgspec_it_works_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The middleware needs nothing but the client."""
    monkeypatch.setitem(sys.modules, "msgspec", None)
    monkeypatch.delitem(sys.modules, "tallygate.integrations.openai._msgspec")
    monkeypatch.delattr("tallygate.integrations.openai._msgspec")
    # Imported once more; that it is the package's attribute is undone in the end as well.
    monkeypatch.setattr("tallygate.integrations.openai.events", events)
    monkeypatch.delitem(sys.modules, events.__name__)
    bare = importlib.import_module(events.__name__)
    assert bare.read_chunk is bare.plain_chunk
    assert bare.read_chunk(b'{"choices":[{"text":"x"}]}').choices[0].text == "x"
