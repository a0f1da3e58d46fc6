"""One stream of Envoy's, at the ends that no real Envoy reaches on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
import pytest

from tallygate.integrations.asgi_types import Receive, Scope, Send
from tallygate.integrations.envoy import ext_proc_pb2 as wire
from tallygate.integrations.envoy.passing import PIECE_BYTES_MAX, BrokenProtocolError, PassingRequest
from tallygate.integrations.envoy.servicer import ExternalProcessor, mistake_in

START = {"type": "http.response.start", "status": 200, "headers": []}


class Stream:
    """Envoy's end of a stream: what it says, and what it hears."""

    def __init__(self, said: Iterable[wire.ProcessingRequest] = (), *, is_slow: bool = False) -> None:
        self.said = list(said)
        self.is_slow = is_slow
        self.heard: list[wire.ProcessingResponse] = []
        self.is_over = False

    async def read(self) -> Any:
        if self.is_over:
            raise grpc.aio.UsageError("the call is over")
        return self.said.pop(0) if self.said else grpc.aio.EOF

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise grpc.aio.AbortError(code, details)

    async def write(self, message: wire.ProcessingResponse) -> None:
        if self.is_over:
            raise grpc.aio.InternalError("the call is over")
        self.heard.append(message)
        if self.is_slow:
            await asyncio.sleep(0)


def first() -> wire.ProcessingRequest:
    message = wire.ProcessingRequest()
    message.request_headers.headers.headers.add(key=":path", raw_value=b"/v1/models")
    message.protocol_config.request_body_mode = wire.FULL_DUPLEX_STREAMED
    message.protocol_config.response_body_mode = wire.FULL_DUPLEX_STREAMED
    return message


def head(status: int) -> wire.ProcessingRequest:
    message = wire.ProcessingRequest()
    message.response_headers.headers.headers.add(key=":status", raw_value=b"%d" % status)
    return message


def opened(stream: Stream) -> PassingRequest:
    return PassingRequest(first(), stream)  # type: ignore[arg-type]


async def test_a_stream_that_ends_while_something_is_sent_is_a_client_that_left() -> None:
    """Its cancellation may come later; no error of gRPC's reaches the middleware."""
    stream = Stream([head(200)])
    passing = opened(stream)
    start = await passing.next_of_answer()
    assert start is not None
    stream.is_over = True
    await passing.send(start)
    assert passing.may_end
    assert (await passing.receive())["type"] == "http.disconnect"


async def test_a_stream_that_ends_while_it_is_read_is_one_too() -> None:
    """As above."""
    stream = Stream()
    stream.is_over = True
    passing = opened(stream)
    assert await passing.next_of_answer() is None
    assert passing.may_end


async def test_an_end_waits_for_the_pieces_before_it() -> None:
    """A stop may come while a long part of the answer is on its way; its end is the last that Envoy hears."""
    stream = Stream([head(200)], is_slow=True)
    passing = opened(stream)
    start = await passing.next_of_answer()
    assert start is not None
    await passing.send(start)
    with passing.gathering():
        await passing.send({"type": "http.response.body", "body": b"x" * 3 * PIECE_BYTES_MAX, "more_body": True})
    flushing = asyncio.create_task(passing.flush())
    await asyncio.sleep(0)
    await passing.send({"type": "http.response.body", "body": b"end", "more_body": False})
    await flushing
    pieces = [each.response_body.response.body_mutation.streamed_response for each in stream.heard[1:]]
    assert b"".join(piece.body for piece in pieces) == b"x" * 3 * PIECE_BYTES_MAX + b"end"
    assert [piece.end_of_stream for piece in pieces] == [False] * 3 + [True]


async def test_a_stream_may_not_end_before_its_request_is_answered() -> None:
    """Envoy would let the request pass, and nobody would have metered it."""
    passing = opened(Stream([head(200)]))
    assert not passing.may_end
    start = await passing.next_of_answer()
    assert start is not None
    await passing.send(start)
    assert not passing.may_end
    await passing.send({"type": "http.response.body", "body": b"{}", "more_body": False})
    assert passing.may_end


async def test_a_request_that_nobody_answered_ends_with_an_error() -> None:
    """Envoy would let it pass after an end without one."""

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        pass

    stream = Stream([first()])
    with pytest.raises(grpc.aio.AbortError):
        await ExternalProcessor(app).process(None, stream)  # type: ignore[arg-type]
    assert stream.heard == []


async def test_nothing_is_sent_after_the_end() -> None:
    """What comes late reaches nobody."""
    stream = Stream()
    passing = opened(stream)
    await passing.send(START)
    await passing.send({"type": "http.response.body", "body": b"", "more_body": False})
    await passing.send({"type": "http.response.body", "body": b"late", "more_body": False})
    assert [message.WhichOneof("response") for message in stream.heard] == ["immediate_response"]


async def test_long_bodies_go_in_parts_and_gathered_pieces_as_one() -> None:
    """Messages are bounded; a read of many events is one message."""
    stream = Stream([head(200)])
    passing = opened(stream)
    start = await passing.next_of_answer()
    assert start is not None
    await passing.send(start)
    with passing.gathering():
        for _ in range(3):
            await passing.send({"type": "http.response.body", "body": b"x", "more_body": True})
    await passing.flush()
    await passing.send({"type": "http.response.body", "body": bytes(PIECE_BYTES_MAX + 1), "more_body": False})
    parts = [message.response_body.response.body_mutation.streamed_response for message in stream.heard[1:]]
    assert [len(part.body) for part in parts] == [3, PIECE_BYTES_MAX, 1]
    assert [part.end_of_stream for part in parts] == [False, False, True]


async def test_a_body_without_a_head_is_a_filter_in_another_mode() -> None:
    """The error says what to configure."""
    message = wire.ProcessingRequest()
    message.response_body.body = b"x"
    with pytest.raises(BrokenProtocolError, match="response_header_mode"):
        await opened(Stream([message])).next_of_answer()


@pytest.mark.parametrize("mode", [mode for mode in wire.BodySendMode.values() if mode != wire.FULL_DUPLEX_STREAMED])
def test_each_other_mode_is_a_mistake(mode: wire.BodySendMode.ValueType) -> None:
    """Named by the setting; so is a filter that only watches."""
    assert mistake_in(first()) == ""
    message = first()
    message.protocol_config.response_body_mode = mode
    assert mistake_in(message).startswith("processing_mode.response_body_mode has to be FULL_DUPLEX_STREAMED, not ")
    message.protocol_config.request_body_mode = mode
    assert mistake_in(message).startswith("processing_mode.request_body_mode")
    message.observability_mode = True
    assert mistake_in(message).startswith("observability_mode")
