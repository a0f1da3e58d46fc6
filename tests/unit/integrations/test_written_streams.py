"""Streams of real servers that are made to say more than was asked: the client sees what it would have seen without."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tallygate.integrations.openai.body import AnswerBody
from tallygate.integrations.openai.request_body import ParsedRequest, Shape, read_request
from tallygate.integrations.openai.stream import MeteredStream
from tests.harness.asgi.written_streams import Step, Written, pieces, written_streams

USAGE = {"include_usage": True}
RUNNING = {"include_usage": True, "continuous_usage_stats": True}


def parsed(written: Written, **more: Any) -> ParsedRequest:
    content = {"model": "llama", "stream": True, "n": written.choices, **more}
    return read_request(Shape.CHAT if written.is_chat else Shape.COMPLETION, json.dumps(content).encode())


def expected(written: Written, *, usage: bool, running: bool) -> bytes:
    """What the client would have got without us; of several choices only the last can be stamped."""
    events = written.events(usage=usage, running=running)
    if usage or written.choices == 1:
        return b"".join(events)
    stamp = b',"system_fingerprint":"vllm-0.32.0-854f1100"'
    return b"".join(event.replace(stamp, b"") for event in events[:-2]) + b"".join(events[-2:])


@given(written_streams(), st.sampled_from([None, USAGE, RUNNING, {"continuous_usage_stats": True}]), st.data())
def test_what_the_client_gets_is_what_the_server_would_have_written(
    written: Written, options: dict[str, bool] | None, data: st.DataObject
) -> None:
    """Byte for byte, whatever it asked for and wherever the body is cut; and the counts are the server's."""
    stream = MeteredStream(parsed(written, **({} if options is None else {"stream_options": options})), "r")
    wants = options is not None and options.get("include_usage", False)
    body = b"".join(written.events(usage=True, running=True))
    shown = b"".join(stream.feed(piece) for piece in data.draw(pieces(body))) + stream.close()
    assert shown == expected(written, usage=wants, running=wants and options == RUNNING)
    assert stream.usage is not None
    assert stream.usage.input_class_tokens == written.input_tokens
    assert (stream.usage.output_class_tokens, stream.since) == (written.output_tokens, (0, 0))


def as_lines(events: bytes) -> bytes:
    """The same chunks without events around them, an object a line."""
    separator = b"\r\n\r\n" if b"\r\n\r\n" in events else b"\n\n"
    chunks = [event.removeprefix(b"data: ") for event in events.split(separator)]
    return b"".join(chunk + b"\n" for chunk in chunks if chunk and chunk != b"[DONE]")


@given(written_streams().filter(lambda written: written.end == "\n"), st.booleans(), st.data())
def test_what_a_body_is_is_found_out_by_reading_it(written: Written, is_lines: bool, data: st.DataObject) -> None:
    """Events or lines of JSON, after white space or none, cut anywhere: passed byte for byte, counted exactly."""
    asks = parsed(written, stream_options=RUNNING)
    body = AnswerBody(lambda lines: MeteredStream(asks, "r", is_lines=lines), may_be_lines=True)
    sent = b"".join(written.events(usage=True, running=True))
    sent = data.draw(st.sampled_from([b"", b"\n", b" \n\n"])) + (as_lines(sent) if is_lines else sent)
    assert b"".join(body.feed(piece) for piece in data.draw(pieces(sent))) + body.close() == sent
    assert body.stream is not None
    assert body.stream.usage is not None
    assert body.stream.usage.output_class_tokens == written.output_tokens
    assert (body.stream.usage.input_class_tokens, body.stream.since) == (written.input_tokens, (0, 0))


@given(written_streams(), st.data())
def test_a_stream_that_is_left_is_counted_to_its_last_chunk(written: Written, data: st.DataObject) -> None:
    """By running usage, whatever text the chunks have, and however many tokens."""
    stream = MeteredStream(parsed(written), "r")
    events = written.events(usage=True, running=True)
    first = written.choices if written.is_chat else 0
    read = data.draw(st.integers(0, len(written.steps)))
    for event in events[: first + read]:
        stream.feed(event)
    if not (first or read):
        assert stream.usage is None
        return
    assert stream.usage is not None
    assert stream.usage.output_class_tokens == sum(step.tokens for step in written.steps[:read])
    assert stream.usage.input_class_tokens == written.input_tokens
    assert stream.since == (0, 0)


@given(written_streams(), st.data())
def test_bytes_pass_as_they_come(written: Written, data: st.DataObject) -> None:
    """Nothing waits for the end of its event once it is known to have a choice, but for usage that may follow."""
    event = written.events(usage=True, running=True)[0]
    stream = MeteredStream(parsed(written), "r")
    begin = b": keep-alive\n"
    assert stream.feed(begin) == begin
    # With its last line end the event is whole, and passes as its server writes it without usage: by SGLang, as null.
    cut = data.draw(st.integers(0, len(event) - len(written.end)))
    shown = stream.feed(event[:cut])
    has_choice = event.find(b'"index"') + 1
    usage_at = event.find(b',"usage":')
    if has_choice < cut <= usage_at:
        assert len(shown) >= event.find(b'"choices"')
    assert event.startswith(shown)


def test_a_long_event_passes_and_counting_goes_on() -> None:
    """Neither its size nor its running usage makes a difference, and what was hidden before stays hidden after."""
    written = Written("vllm", True, 12, [Step(0, "x" * 1_600_000, 1_289), Step(0, "y", 1)], 1, "\n")
    body = b"".join(written.events(usage=True, running=True))
    stream = MeteredStream(parsed(written), "r")
    most = 0
    shown = []
    for at in range(0, len(body), 10_000):
        shown.append(stream.feed(body[at : at + 10_000]))
        most = max(most, at + 10_000 - sum(map(len, shown)))
    assert b"".join([*shown, stream.close()]) == expected(written, usage=False, running=False)
    assert stream.usage is not None
    assert (stream.usage.input_tokens, stream.usage.output_tokens) == (12, 1_290)
    assert most < 300_000, "it is not kept until its end"
