"""Events cut out of a body that comes in pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.integrations.openai.sse import EventSplitter, LineSplitter, event_data

BODIES = [
    b'data: {"a": 1}\n\ndata: {"b": 2}\n\ndata: [DONE]\n\n',
    b'data: {"a": 1}\r\n\r\ndata: {"b": 2}\r\n\r\ndata: [DONE]\r\n\r\n',
    b"data: one\r\rdata: two\r\r",
    b": a comment\n\nevent: x\nid: 7\ndata: first\ndata:second\n\n\n\ndata: \xe2\x82\xac\n\ndata: cut off",
    b"\r\n\r\ndata: one\n\r\ndata: two\r\n\ndata: three\n\r",
    b"\n\n\n\n",
    b"",
]


def cut(pieces: list[bytes]) -> list[bytes]:
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return [*events, splitter.close()]


@pytest.mark.parametrize("body", BODIES)
def test_where_a_body_is_cut_changes_nothing(body: bytes) -> None:
    """Cut in two anywhere, or into single bytes, the events are the same, and every byte is in one of them."""
    whole = cut([body])
    assert b"".join(whole) == body
    for at in range(len(body) + 1):
        assert cut([body[:at], body[at:]]) == whole, at
    assert cut([body[at : at + 1] for at in range(len(body))]) == whole


@given(
    st.lists(st.sampled_from([b"data: x", b"\n", b"\r", b"\r\n", b":", b"event: y", b"\n\n"]), max_size=24), st.data()
)
def test_any_body_cut_anywhere(parts: list[bytes], data: st.DataObject) -> None:
    """The same of bodies that no server would write."""
    body = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    pieces = [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert cut(pieces) == cut([body])


@given(st.lists(st.sampled_from([b'{"a":', b"1}", b"\n", b"\r", b"\r\n", b""]), max_size=24))
def test_lines_end_where_readers_of_lines_end_them(pieces: list[bytes]) -> None:
    """By LF alone, wherever the body is cut: a CR is white space to JSON, also in the middle of a line."""
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    *ended, rest = b"".join(pieces).split(b"\n")
    assert lines == [line + b"\n" for line in ended]
    assert (splitter.close(), splitter.close()) == (rest, b"")


def test_the_data_of_an_event() -> None:
    """Lines are joined, one space after the colon goes, other fields and comments are no data."""
    assert (
        event_data(b"event: x\ndata: one\r\ndata:two\rdata:  three\n: data: no\ndatabase: no\n\n")
        == b"one\ntwo\n three"
    )
    assert event_data(b": ping\n\n") == b""
