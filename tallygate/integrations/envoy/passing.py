"""One request at Envoy and its answer, as the messages of ASGI: one stream of external processing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from tallygate.integrations.asgi_messages import lowered
from tallygate.integrations.asgi_types import Message, Scope
from tallygate.integrations.envoy import ext_proc_pb2 as wire
from tallygate.integrations.envoy import heads
from tallygate.integrations.openai import errors

PASSING: Final = "tallygate.passing"
"""Name under which the scope of a request has its passing request."""
BODY_STALL_S: Final = 30.0
"""Timeout of the next piece of a request's body: Envoy has none of its own for bodies in full duplex."""
PIECE_BYTES_MAX: Final = 64 << 10
"""Maximum length of a piece in a message to Envoy."""

_STARTS: Final = {"http.response.start", "websocket.http.response.start"}
_BODIES: Final = {"http.response.body", "websocket.http.response.body"}


class BrokenProtocolError(Exception):
    """Envoy sent what no filter sends that is configured as it has to be; the message says what to configure."""


class PassingRequest:
    """What middleware calls as `receive` and `send`, and what the app behind it asks for.

    A start that comes before the upstream has answered goes to the client at once, with its body, and ends everything:
    nothing reaches the upstream, or the upstream is left.

    Attributes:
        scope: The request, as ASGI has it.
        has_body: Whether the request is more than its head.
    """

    def __init__(self, first: wire.ProcessingRequest, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context
        self._writing = asyncio.Lock()
        self.scope: Scope = heads.scope_of(first)
        self.scope[PASSING] = self
        self.has_body = not first.request_headers.end_of_stream
        self._has_request_trailers = False
        self._upstream: wire.HttpHeaders | None = None
        self._early = first if first.WhichOneof("request") == "response_headers" else None
        self._own: Message | None = None
        self._unsent = bytearray()
        self._gathers = False
        self._has_answer_trailers = False
        self._is_gone = False
        self._is_over = False
        self._is_free = False

    @property
    def may_end(self) -> bool:
        """Whether its stream may end. Envoy lets what comes later pass, and nothing of that may have to be metered."""
        return self._is_over or self._is_gone or self._is_free

    @property
    def is_answered_early(self) -> bool:
        """Whether an answer waits that nobody asked for: one of Envoy's own, or an upstream's to half a request."""
        return self._early is not None

    @property
    def has_no_body(self) -> bool:
        """Whether the upstream's answer is nothing but its head."""
        return self._upstream is not None and self._upstream.end_of_stream

    def let_pass(self) -> None:
        """Lets the request and its answer pass without a look at them."""
        self._is_free = True

    async def receive(self) -> Message:
        """The next message of the client: a piece of its body, or that it has gone."""
        if self.scope["type"] == "websocket":
            return {"type": "websocket.connect"}
        if not self.has_body:
            return {"type": "http.request", "body": b"", "more_body": False}
        message = await self._read_of_body()
        kind = None if message is None else message.WhichOneof("request")
        if message is not None and kind == "request_body":
            body = message.request_body
            return {"type": "http.request", "body": body.body, "more_body": not body.end_of_stream}
        if kind == "request_trailers":
            self._has_request_trailers = True
            return {"type": "http.request", "body": b"", "more_body": False}
        self._early = message
        return {"type": "http.disconnect"}

    async def pass_head(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Sends the request's head on to the upstream, with these headers."""
        common = wire.CommonResponse(header_mutation=heads.mutation(self.scope["headers"], headers))
        await self._write(wire.ProcessingResponse(request_headers=wire.HeadersResponse(response=common)))

    async def pass_body(self, body: bytes, *, more: bool) -> None:
        """Sends a part of the request's body on to the upstream."""
        ends = not (more or self._has_request_trailers)
        for piece in _pieces(body, ends=ends) if self.has_body else ():
            await self._write(wire.ProcessingResponse(request_body=piece))
        if self._has_request_trailers:
            await self._write(wire.ProcessingResponse(request_trailers=wire.TrailersResponse()))

    async def next_of_answer(self) -> Message | None:
        """The next part of the upstream's answer, as a message; None where it broke off, or its client has gone.

        Raises:
            BrokenProtocolError: The answer has no head.
        """
        message, self._early = self._early or await self._read(), None
        if message is None:
            return None
        kind = message.WhichOneof("request")
        if kind == "response_headers":
            self._upstream = message.response_headers
            headers = heads.answer_headers(self._upstream)
            return {"type": "http.response.start", "status": heads.status_of(self._upstream), "headers": headers}
        if self._upstream is None:
            raise BrokenProtocolError("processing_mode.response_header_mode has to be SEND")
        if kind == "response_trailers":
            self._has_answer_trailers = True
            return {"type": "http.response.body", "body": b"", "more_body": False}
        body = message.response_body
        return {"type": "http.response.body", "body": body.body, "more_body": not body.end_of_stream}

    async def send(self, message: Message) -> None:
        """Sends a part of the answer to the client."""
        if message["type"] in _STARTS:
            await self._send_start(message)
        elif message["type"] in _BODIES:
            self._unsent += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_end()
            elif not self._gathers:
                await self.flush()

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """What is sent inside waits for `flush`, or for the end: one message for all of it."""
        self._gathers = True
        try:
            yield
        finally:
            self._gathers = False

    async def flush(self) -> None:
        """Sends what has gathered."""
        if self._unsent and self._own is None:
            await self._write_body(ends=False)

    async def refuse(self, refusal: errors.ErrorResponse) -> None:
        """Answers the client at once, without the middleware."""
        self._own = {"status": refusal.status, "headers": refusal.headers}
        self._unsent[:] = refusal.body
        await self._send_end()

    async def _send_start(self, message: Message) -> None:
        upstream = self._upstream
        if upstream is None:
            self._own = message
            return
        changed = heads.mutation(heads.answer_headers(upstream), lowered(message))
        if message["status"] != heads.status_of(upstream):
            heads.add(changed, b":status", [b"%d" % message["status"]])
        common = wire.CommonResponse(header_mutation=changed)
        await self._write(wire.ProcessingResponse(response_headers=wire.HeadersResponse(response=common)))

    async def _send_end(self) -> None:
        if self._own is not None:
            answer = wire.ImmediateResponse(
                status=wire.HttpStatus(code=self._own["status"]),
                headers=heads.mutation((), lowered(self._own)),
                body=bytes(self._unsent),
                details="tallygate",
            )
            await self._write(wire.ProcessingResponse(immediate_response=answer))
        elif self._has_answer_trailers:
            await self.flush()
            await self._write(wire.ProcessingResponse(response_trailers=wire.TrailersResponse()))
        elif not self.has_no_body:
            await self._write_body(ends=True)
        self._is_over = True

    async def _write_body(self, *, ends: bool) -> None:
        body = bytes(self._unsent)
        self._unsent.clear()
        await self._write(*(wire.ProcessingResponse(response_body=piece) for piece in _pieces(body, ends=ends)))

    async def _read_of_body(self) -> wire.ProcessingRequest | None:
        if self._is_gone or self._is_over or self._early is not None:
            return self._early
        try:
            async with asyncio.timeout(BODY_STALL_S):
                return await self._read()
        except TimeoutError:
            await self.refuse(errors.stalled_body())
            return None

    async def _read(self) -> wire.ProcessingRequest | None:
        """The next message of Envoy's; None at the end, whatever ended it."""
        try:
            message = grpc.aio.EOF if self._is_gone else await self._context.read()
        except grpc.aio.BaseError:
            message = grpc.aio.EOF
        if message is grpc.aio.EOF:
            self._is_gone = True
            return None
        assert isinstance(message, wire.ProcessingRequest)
        return message

    async def _write(self, *messages: wire.ProcessingResponse) -> None:
        # Whoever ends a request may write while the request is still being passed on, but not between two pieces.
        async with self._writing:
            for message in messages:
                if self._is_over or self._is_gone:
                    return
                try:
                    await self._context.write(message)
                except grpc.aio.BaseError:
                    # Envoy has ended the stream, and its cancellation is still on its way.
                    self._is_gone = True


def _pieces(body: bytes, *, ends: bool) -> Iterable[wire.BodyResponse]:
    """A body in parts that fit into messages; one empty part of nothing."""
    for begin in range(0, len(body) or 1, PIECE_BYTES_MAX):
        end = begin + PIECE_BYTES_MAX
        part = wire.StreamedBodyResponse(body=body[begin:end], end_of_stream=ends and end >= len(body))
        yield wire.BodyResponse(response=wire.CommonResponse(body_mutation=wire.BodyMutation(streamed_response=part)))
