"""Streams of APIs with shapes of their own: passed byte for byte, counted by what they say, ended as they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.client import Usage
from tallygate.integrations.openai.body import AnswerBody
from tallygate.integrations.openai.request_body import Shape, read_request
from tallygate.integrations.openai.stream import MeteredStream
from tests.harness.asgi.written_streams import TEXTS, pieces

Writer = Callable[[list[str], bool, Usage | None], list[bytes]]


def _line(is_chat: bool, text: str, **more: Any) -> bytes:
    said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if is_chat else {"response": text}
    content = {"model": "m", "created_at": "2026-11-29T01:00:00Z", **said, "done": False, **more}
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"


def _ollama(is_chat: bool) -> Writer:
    def write(texts: list[str], ends: bool, usage: Usage | None) -> list[bytes]:
        said = {} if usage is None else {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}
        end = [_line(is_chat, "", done=True, done_reason="stop", **said)] if ends else []
        return [_line(is_chat, text) for text in texts] + end

    return write


def _cohere(texts: list[str], ends: bool, usage: Usage | None) -> list[bytes]:
    def event(kind: str, **said: Any) -> bytes:
        return f"data: {json.dumps({'type': kind, **said}, ensure_ascii=False)}\n\n".encode()

    begin = event("message-start", id="c", delta={"message": {"role": "assistant"}})
    started = event("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}})
    pieces = [event("content-delta", index=0, delta={"message": {"content": {"text": text}}}) for text in texts]
    if not ends:
        return [begin, started, *pieces]
    counts = {} if usage is None else {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    delta = {"finish_reason": "COMPLETE", "usage": {"billed_units": counts, "tokens": counts}}
    end = event("message-end", id="c", delta=delta)
    return [begin, started, *pieces, event("content-end", index=0), end, b"data: [DONE]\n\n"]


WRITERS: Mapping[Shape, Writer] = {
    Shape.OLLAMA_CHAT: _ollama(is_chat=True),
    Shape.OLLAMA_GENERATE: _ollama(is_chat=False),
    Shape.COHERE_CHAT: _cohere,
}
USAGES = st.builds(Usage, st.integers(1, 5_000), output_tokens=st.integers(1, 5_000))


def _reading(shape: Shape) -> AnswerBody:
    parsed = read_request(shape, json.dumps({"model": "m", "prompt": "x", "messages": [{}], "stream": True}).encode())
    return AnswerBody(lambda is_lines: MeteredStream(parsed, "r", is_lines=is_lines), may_be_lines=parsed.streams)


@given(st.sampled_from(sorted(WRITERS, key=str)), st.lists(TEXTS, max_size=20), USAGES, st.data())
def test_cut_anywhere_it_passes_and_is_counted_exactly(
    shape: Shape, texts: list[str], usage: Usage, data: st.DataObject
) -> None:
    """Whatever the texts are: the server's own counts at the end are what is known."""
    body = b"".join(WRITERS[shape](texts, True, usage))
    reading = _reading(shape)
    assert b"".join(reading.feed(piece) for piece in data.draw(pieces(body))) + reading.close() == body
    assert reading.stream is not None
    assert (reading.stream.usage, reading.stream.since, reading.stream.problem) == (usage, (0, 0), "")
    assert reading.stream.is_finished


@given(st.sampled_from(sorted(WRITERS, key=str)), st.lists(st.text(max_size=4), min_size=1, max_size=20), st.data())
def test_one_that_is_ended_early_says_so_and_how_much_it_was(
    shape: Shape, texts: list[str], data: st.DataObject
) -> None:
    """A token for each text that is not empty; the client can read all of it."""
    body = b"".join(WRITERS[shape](texts, False, None))
    reading = _reading(shape)
    shown = b"".join(reading.feed(piece) for piece in data.draw(pieces(body)))
    stream = reading.stream
    assert stream is not None
    count = sum(bool(text) for text in texts)
    assert (stream.usage, stream.since, stream.tokens) == (None, (count, 0), count)
    end = stream.end(Usage(7, output_tokens=count))
    assert shown == body
    again = _reading(shape)
    again.feed(shown + end)
    assert again.stream is not None
    assert (again.stream.usage, again.stream.is_finished) == (Usage(7, output_tokens=count), True)
    assert (again.stream.problem, again.close()) == ("", b"")


@pytest.mark.parametrize("shape", WRITERS)
def test_a_last_line_or_event_that_broke_off_is_closed_before_the_end(shape: Shape) -> None:
    """What ends the stream stands for itself."""
    *_, last = WRITERS[shape](["a", "b"], False, None)
    reading = _reading(shape)
    reading.feed(b"".join(WRITERS[shape](["a"], False, None)) + last[:20])
    assert reading.stream is not None
    end = reading.stream.end(Usage(7, output_tokens=1))
    assert end.startswith(b"\n")
