"""Whole answers for clients that requested one, put together from a stream of the app behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from tallygate.integrations.asgi_messages import lowered
from tallygate.integrations.asgi_types import Message, Scope, Send
from tallygate.integrations.openai.assembly import Assembly
from tallygate.integrations.shapes import Shape

_OK = range(200, 300)
_SPACES = b"\xef\xbb\xbf \t\r\n"
_OF_THE_STREAM = {b"content-type", b"content-length", b"transfer-encoding", b"cache-control", b"x-accel-buffering"}


class WholeAnswer:
    """A `send` that takes a stream and sends one JSON; what is no stream passes as it is."""

    def __init__(self, send: Send, shape: Shape) -> None:
        """Begins.

        Args:
            send: To the client.
            shape: Of the chat or of the completions API.
        """
        self._client_send = send
        self._assembly = Assembly(shape)
        self._start: Message | None = None
        self._is_stream = False
        self._is_over = False
        self.end_soon: Callable[[], None] = lambda: None
        """Called when no more of the answer may be kept."""

    async def __call__(self, message: Message) -> None:
        """Takes a message of the app."""
        if message["type"] == "http.response.start" and message["status"] in _OK:
            self._start = message
        elif message["type"] == "http.response.body" and (self._start is not None or self._is_over):
            await self._take(message)
        else:
            await self._client_send(message)

    async def _take(self, message: Message) -> None:
        if self._is_over:
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if not self._is_stream:
            text = body.lstrip(_SPACES)
            if more and not text:
                return
            if not text or text[:1] in b"{[":
                await self._pass_on(message)
                return
            self._is_stream = True
            body = text
        self._assembly.feed(body)
        if not more:
            self._is_over = True
            await self._send_answer()
            return
        if self._assembly.is_full:
            self.end_soon()
        # Nothing is sent here, so nothing else lets others have their turn.
        await asyncio.sleep(0)

    async def _pass_on(self, message: Message) -> None:
        """The app answered as a whole all the same."""
        start, self._start = self._start, None
        assert start is not None
        await self._client_send(start)
        await self._client_send(message)

    async def _send_answer(self) -> None:
        start = self._start
        assert start is not None
        answer, status = self._assembly.close(), start["status"]
        if self._assembly.error is not None:
            status, answer = self._assembly.error
        body = json.dumps(answer, separators=(",", ":")).encode()
        headers = [header for header in lowered(start) if header[0] not in _OF_THE_STREAM]
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self._client_send({**start, "status": status, "headers": headers})
        await self._client_send({"type": "http.response.body", "body": body, "more_body": False})


def listening(scope: Scope) -> Scope:
    """The scope of a request whose app has to listen for its client's leaving, since nothing is written to that client.

    Since ASGI 2.4, apps learn it by what `send` raises.
    """
    return {**scope, "asgi": {**scope.get("asgi", {}), "spec_version": "2.3"}}
