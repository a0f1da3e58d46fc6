"""Answers in sizes, orders and words that few servers use: read as what they say, passed on byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallygate.client import Usage
from tallygate.integrations.answer_counts import AnswerCounts, Counts
from tallygate.integrations.final_usage import Facts, derive_final_usage
from tallygate.integrations.habits import ServerHabits
from tallygate.integrations.openai.json_members import MemberScanner, small_members
from tallygate.integrations.openai.request_body import read_request
from tallygate.integrations.openai.stream import MeteredStream
from tallygate.integrations.openai.usage_options import StreamUsage
from tallygate.integrations.shapes import Shape

LONG = "A" * 1_200_000
ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
DONE = b"data: [DONE]\n\n"
LOGPROBS = [[-0.5, number, None] for number in range(40_000)]


def event(said: dict[str, Any], before: bytes = b"") -> bytes:
    return before + b"data: " + json.dumps(said).encode() + b"\n\n"


def usage(went_in: int, came_out: int) -> dict[str, int]:
    return {"prompt_tokens": went_in, "completion_tokens": came_out, "total_tokens": went_in + came_out}


def chunk(text: str, said: object = None, *, before: bytes = b"", index: int = 0) -> bytes:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": None}
    content: dict[str, Any] = {"id": "c", "choices": [choice]}
    return event(content if said is None else {**content, "usage": said}, before)


def read(*pieces: bytes, shape: Shape = Shape.CHAT, is_complete: bool = True, **fields: Any) -> tuple[Counts, bytes]:
    """Reads an answer; returns its counts, and what the client gets."""
    content = {"model": "m", "stream": True, "messages": [], "input": "x", "text": "x", **fields}
    parsed = read_request(shape, json.dumps(content).encode())
    answer = AnswerCounts(parsed, "id", parsed.max_output_tokens, ServerHabits(StreamUsage.RUNNING))
    answer.start([])
    shown = b"".join(answer.feed(piece, more=True) for piece in pieces)
    if is_complete:
        shown += answer.feed(b"", more=False)
    return answer.counts(is_complete=is_complete, has_left=not is_complete), shown


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


@pytest.mark.parametrize(
    "before", [b"", b"event: message\n", b"id: 7\r\nevent: x\r\n", b"retry: 5\n", b": hi\nid: 1\n"]
)
def test_a_long_event_passes_whole_whatever_stands_before_its_data(before: bytes) -> None:
    """All of it but its usage, which was asked for on the client's behalf."""
    body = chunk(LONG, usage(12, 3), before=before)
    counts, shown = read(*cut(body, 10_000), is_complete=False)
    assert shown == chunk(LONG, before=before)
    assert counts.usage == Usage(12, output_tokens=3)


def test_usage_in_a_long_event_is_what_it_was_so_far() -> None:
    """Of a choice, and not of the whole answer: what is said later replaces it."""
    body = chunk(LONG, usage(12, 3)) + chunk("x", usage(12, 50))
    assert read(*cut(body, 10_000), is_complete=False)[0].usage == Usage(12, output_tokens=50)


def test_a_long_last_event_of_a_response_has_its_usage() -> None:
    """It repeats all that was said; the usage stands behind that, one level down."""
    output = [{"type": "message", "content": [{"type": "output_text", "text": LONG}]}]
    response = {"id": "r", "output": output, "usage": {"input_tokens": 12, "output_tokens": 1_290}}
    body = event({"type": "response.completed", "response": response}, b"event: response.completed\n")
    counts, shown = read(*cut(body, 10_000), shape=Shape.RESPONSE)
    assert (counts.usage, counts.tokens, shown) == (Usage(12, output_tokens=1_290), 0, body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", ["meta_info", "choices"])
def test_usage_beside_what_is_long_is_found(place: str, *, stream: bool) -> None:
    """SGLang writes log probabilities into the same object as its counts, Moonshot its counts behind the text."""
    counted = {"prompt_tokens": 12, "completion_tokens": 5, "logprobs": LOGPROBS * 2}
    said: dict[str, Any] = {"text": "hi", "meta_info": counted}
    if place == "choices":
        said = {"choices": [{"index": 0, "delta": {"content": "hi"}, "logprobs": LOGPROBS * 2, "usage": usage(12, 5)}]}
    body = event(said) if stream else json.dumps(said).encode()
    shape = Shape.GENERATE if place == "meta_info" else Shape.CHAT
    counts, shown = read(*cut(body, 10_000), shape=shape, stream=stream)
    assert (counts.usage, shown) == (Usage(12, output_tokens=5), body)


def test_a_long_list_of_answers_is_added_up() -> None:
    """SGLang answers several prompts by a list."""
    one = {"text": "A" * 200_000, "meta_info": {"prompt_tokens": 12, "completion_tokens": 5}}
    body = json.dumps([one, one, one]).encode()
    counts, _ = read(*cut(body, 10_000), shape=Shape.GENERATE, stream=False, text=["a", "b", "c"])
    assert counts.usage == Usage(36, output_tokens=15)


def test_a_list_of_any_number_of_answers_is_added_up() -> None:
    """Also one with more items than an object may have members that are kept."""
    one = {"text": "A" * 1_000, "meta_info": {"prompt_tokens": 12, "completion_tokens": 5}}
    body = json.dumps([one] * 2_000).encode()
    counts, _ = read(*cut(body, 10_000), shape=Shape.GENERATE, stream=False, text=["a"] * 2_000)
    assert counts.usage == Usage(24_000, output_tokens=10_000)
    broken, _ = read(*cut(body[:-1], 10_000), shape=Shape.GENERATE, stream=False, text=["a"] * 2_000)
    assert (broken.usage, broken.tokens) == (None, len(body[:-1]) // 4)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
def test_members_are_the_same_however_the_bytes_are_cut(size: int) -> None:
    """With quotes, escapes and brackets in strings, and lists and objects in each other."""
    said = {
        "a": [{"b": 'x"]}{[\\', "c": [[1, [2, {}]], {"d": [None, "\u4e2d\\"]}]}, []],
        "usage": {"prompt_tokens": 1},
        "e": 'te"xt\\',
    }
    scanner = MemberScanner()
    for piece in cut(json.dumps(said).encode(), size):
        scanner.feed(piece)
    assert (small_members(scanner), scanner.is_closed) == (said, True)


@pytest.mark.parametrize("at", [0, 3])
def test_zeros_beside_text_are_no_usage(at: int) -> None:
    """Some servers fill them in where they have not counted yet: a client that hangs up still had its text."""
    pieces = [chunk("x") for _ in range(30)] if at else [chunk("x", ZERO) for _ in range(30)]
    pieces.insert(at, event({"id": "c", "choices": [], "usage": ZERO, "prompt_filter_results": [{}]}))
    assert _recorded(read(*pieces, is_complete=False)[0]) == Usage(40, output_tokens=30)


def test_input_that_is_said_beside_text_does_not_uncount_the_text() -> None:
    """The output comes at the end; whoever hangs up before had 30 pieces all the same."""
    pieces = [chunk("x", usage(12, 0)) for _ in range(30)]
    assert _recorded(read(*pieces, is_complete=False)[0]) == Usage(12, output_tokens=30)
    assert _recorded(read(*pieces, event({"choices": [], "usage": usage(12, 44)}))[0]) == Usage(12, output_tokens=44)


def test_usage_beside_several_choices_is_of_all() -> None:
    """It is not that of each."""
    choices = [{"index": at, "delta": {"content": "x"}, "finish_reason": "stop"} for at in range(2)]
    counts, _ = read(event({"choices": choices, "usage": usage(10, 50)}), DONE, n=2)
    assert counts.usage == Usage(10, output_tokens=50)


@pytest.mark.parametrize(
    "body",
    [
        event({"object": "error", "message": "too long", "code": 400}) + DONE,
        event({"message": "too long", "code": 400}, b"event: error\n") + DONE,
        event({"error": "too long"}) + DONE,
        event({"type": "error", "message": "too long"}) + DONE,
        b'{"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}',
        b'{"error": "too long"}',
        b'{\n "object": "error",\n "message": "too long"\n}\n',
    ],
)
def test_an_error_in_other_words_is_a_refusal(body: bytes) -> None:
    """With status 200, before any output."""
    assert _recorded(read(body)[0]) == Usage()


@pytest.mark.parametrize(
    ("shape", "said", "tokens"),
    [
        (Shape.MESSAGES, {"type": "message", "content": [{"type": "text", "text": "a" * 40}]}, 10),
        (Shape.MESSAGES, {"content": [{"type": "thinking", "thinking": "a" * 40}]}, 10),
        (Shape.GENERATE, {"text": ["a" * 40, "b" * 40]}, 20),
        (Shape.GENERATE, {"text": "a" * 40}, 10),
        (Shape.GENERATE, {"text": "a", "output_ids": [1, 2, 3]}, 3),
        (Shape.TOKENS_GENERATE, {"request_id": "r", "choices": [{"index": 0, "token_ids": [1, 2, 3, 4]}]}, 4),
        (Shape.CHAT, {"choices": [{"message": {"content": [{"type": "text", "text": "a" * 40}]}}]}, 10),
        (Shape.CHAT, {"object": "error", "message": "a" * 40}, 0),
    ],
)
def test_a_whole_answer_without_usage_is_not_nothing(shape: Shape, said: dict[str, Any], tokens: int) -> None:
    """Its text is estimated wherever its API has it; token ids are counted."""
    counts, _ = read(json.dumps(said).encode(), shape=shape, stream=False, max_tokens=90, token_ids=[1])
    assert (counts.usage, counts.tokens) == (None, tokens)


def test_usage_of_a_whole_answer_that_broke_off_is_found() -> None:
    """If it came before that."""
    body = json.dumps({"usage": usage(12, 5), "choices": [{"message": {"content": "x" * 100}}]}).encode()
    assert read(body[:-30], stream=False, is_complete=False)[0].usage == Usage(12, output_tokens=5)


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        (Shape.CHAT, b'{"choices": [{"delta": {"content": "x"}}'),
        (Shape.CHAT, b'["x"]'),
        (Shape.CHAT, b"plain text"),
        (Shape.CHAT, b'{"choices": [{"index": 0, "text": "x"}]}'),
        (Shape.COMPLETION, b'{"choices": [{"index": 0, "delta": {"content": "x"}}]}'),
        (Shape.MESSAGES, b"plain text"),
        (Shape.RESPONSE, b"plain text"),
    ],
)
def test_events_that_are_not_as_they_should_be_count_one_each(shape: Shape, data: bytes) -> None:
    """Until the server counts; half an event at the end does not."""
    body = b"data: " + data + b"\n\n"
    counts, shown = read(body * 5, shape=shape, max_tokens=9, prompt="x", is_complete=False)
    assert (counts.usage, counts.tokens, shown) == (None, 5, body * 5)
    assert read(body, body[:-6] if b"text" in data else b"", shape=shape, max_tokens=9, prompt="x")[0].tokens == 1


@pytest.mark.parametrize("shape", [Shape.RESPONSE, Shape.GENERATE, Shape.MESSAGES, Shape.COMPLETION])
def test_an_error_in_a_stream_of_any_kind_is_a_refusal(shape: Shape) -> None:
    """Also one in the words of the chat API, which servers use for all."""
    for said in ({"error": {"message": "x"}}, {"error": "x"}, {"type": "error", "message": "x"}):
        assert _recorded(read(event(said), DONE, shape=shape, max_tokens=9, prompt="x")[0]) == Usage()


@pytest.mark.parametrize("wants_usage", [False, True])
def test_a_stream_of_lines_is_ended_by_lines(*, wants_usage: bool) -> None:
    """Its client reads no events; what was held back comes before the end."""
    options = {"include_usage": wants_usage}
    content = {"model": "m", "stream": True, "messages": [], "n": 2, "stream_options": options}
    stream = MeteredStream(read_request(Shape.CHAT, json.dumps(content).encode()), "id", is_lines=True)
    choices = [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]
    line = json.dumps({"id": "c", "choices": choices}).encode() + b"\n"
    shown = stream.feed(line) + stream.end(Usage(3, output_tokens=2))
    lines = [json.loads(each) for each in shown.splitlines()]
    assert shown.startswith(line)
    assert [[choice["finish_reason"] for choice in said["choices"]] for said in lines[:2]] == [["stop"], ["length"]]
    assert [said["usage"]["total_tokens"] for said in lines[2:]] == [5] * wants_usage


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_byte_order_mark_may_come_in_pieces(size: int) -> None:
    """What it stands before is a stream all the same."""
    body = b"\xef\xbb\xbf" + chunk("x") + event({"choices": [], "usage": usage(12, 200)}) + DONE
    counts, shown = read(*cut(body, size))
    assert (counts.usage, shown) == (Usage(12, output_tokens=200), b"\xef\xbb\xbf" + chunk("x") + DONE)


def test_what_others_found_out_is_asked_again() -> None:
    """Requests at once: those refused after one of them was served still get what that one got."""
    habits = ServerHabits(StreamUsage.RUNNING)
    habits.accept(StreamUsage.FINAL)
    assert habits.lesser(StreamUsage.RUNNING) is StreamUsage.FINAL
    assert habits.lesser(StreamUsage.FINAL) is None
    habits = ServerHabits(StreamUsage.RUNNING)
    habits.accept(StreamUsage.NONE)
    assert [habits.lesser(usage) for usage in StreamUsage] == [StreamUsage.NONE, StreamUsage.NONE, None, None]


def _recorded(counts: Counts) -> Usage:
    facts = Facts(
        estimated_input=40,
        usage=counts.usage,
        tokens=counts.tokens,
        reasoning=counts.reasoning,
        status=200,
        is_complete=False,
        is_stopped=False,
        has_raised=False,
        has_left=True,
        is_refusal=counts.is_refusal,
        problem="",
    )
    return derive_final_usage(facts).usage
