"""The proxy as an ASGI app: it sends a request to an upstream and passes the answer on as it comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Final

import aiohttp
from yarl import URL

from tallygate.integrations.asgi_messages import until_gone
from tallygate.integrations.asgi_types import App, Message, Receive, Scope, Send
from tallygate.integrations.event_ends import end_of_event, events_in
from tallygate.integrations.openai import errors
from tallygate.integrations.proxy.headers import request_headers, response_headers
from tallygate.integrations.proxy.upstreams import Upstreams, model_of
from tallygate.integrations.refusals import send_response

CONNECT_S: Final = 5.0
"""Timeout of a connection to an upstream."""
IDLE_S: Final = 2.0
"""Time for which an unused connection is kept. Shorter than servers keep theirs (uvicorn: 5 s): a POST that meets one
that its server is just closing fails, and is never sent again."""
FREE_BODY_BYTES_MAX: Final = 32 << 20
"""Maximum length of a body on a route that is not metered; the middleware bounds the others."""

_log = logging.getLogger("tallygate.integrations.proxy")


class UpstreamBrokeError(Exception):
    """An upstream broke its answer off after it had begun."""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """`silence_s`: timeout between two pieces of an answer. `upstream_key`: sent instead of end users' credentials.

    `tls`: how upstreams with https are verified; None: by the authorities of this machine.
    """

    silence_s: float = 600.0
    upstream_key: str = field(default="", repr=False)
    tls: SSLContext | None = None


class ProxyApp:
    """Sends each request to its upstream, once. What the client does not hear any more is not generated any more."""

    def __init__(self, upstreams: Upstreams, settings: ProxySettings) -> None:
        """Connects to nothing before the first request."""
        self._upstreams = upstreams
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "not passed on by this proxy"})
        else:
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        if self._session is not None:
            await self._session.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _read_body(receive)
        except _TooLongError:
            await send_response(send, errors.too_large(FREE_BODY_BYTES_MAX))
            return
        if body is None:
            return
        upstream = self._upstreams.of(body) if body else self._upstreams.first
        if not upstream:
            await send_response(send, errors.unknown_model(model_of(body)))
            return
        await until_gone(self._pass_on(upstream, scope, body, send), receive)

    async def _pass_on(self, upstream: str, scope: Scope, body: bytes, send: Send) -> None:
        has_begun = False
        try:
            async with self._answer(upstream, scope, body) as answer:
                headers = response_headers(answer.raw_headers)
                await send({"type": "http.response.start", "status": answer.status, "headers": headers})
                has_begun = True
                end = end_of_event(answer.content_type)
                async for read in answer.content.iter_any():
                    for piece in events_in(read, end):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                    if len(piece) < len(read):
                        # Where many come at once, a stop, or a client that has gone, is noticed between two reads.
                        await asyncio.sleep(0)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (aiohttp.ClientError, TimeoutError) as error:
            why = _why(error)
            _log.warning("The upstream %s %s", upstream, why)
            if has_begun:
                raise UpstreamBrokeError(f"the upstream {upstream} {why}") from error
            await send_response(send, errors.bad_upstream(is_late=isinstance(error, TimeoutError)))

    @asynccontextmanager
    async def _answer(self, upstream: str, scope: Scope, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        raw_path = scope.get("raw_path") or scope["path"].encode()
        query = scope.get("query_string", b"")
        target = upstream + raw_path.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
        answer = await self._open_session().request(
            scope["method"],
            URL(target, encoded=True),
            headers=request_headers(scope["headers"], self._settings.upstream_key),
            data=body or None,
            allow_redirects=False,
        )
        try:
            yield answer
        finally:
            # Of an answer that was not read to its end, the connection is closed, by which the upstream stops.
            answer.close() if not answer.content.is_eof() else answer.release()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = self._settings.tls
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S, ssl=True if tls is None else tls)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=self._settings.silence_s),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
            )
        return self._session


def breaking_off(app: App) -> App:
    """The app, with an answer that an upstream broke off left incomplete: the server then closes the connection."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(UpstreamBrokeError):
            await app(scope, receive, send)

    return served


class _TooLongError(Exception):
    """A body is longer than what is read."""


async def _read_body(receive: Receive) -> bytes | None:
    """The body of a request; None if its client is gone. What the middleware has read comes as one piece of any length.

    Raises:
        _TooLongError: It came in pieces that are too long together.
    """
    parts: list[bytes] = []
    length = 0
    while True:
        message: Message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if length > FREE_BODY_BYTES_MAX:
            raise _TooLongError


def _why(error: Exception) -> str:
    """What an upstream did, as the end of a sentence."""
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot be reached: {error.os_error.strerror or error.os_error}"
    return f"broke its answer off: {error}"
