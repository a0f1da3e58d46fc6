"""Refusals of requests that are neither metered nor free, in a way that clients can read."""

from __future__ import annotations

from dataclasses import replace

from tallygate.integrations.asgi_types import Receive, Scope, Send
from tallygate.integrations.openai import errors
from tallygate.integrations.openai.errors import ErrorResponse
from tallygate.integrations.routes import WEBSOCKET, Use

REQUEST_ID_HEADER = b"x-tallygate-request-id"

DRAIN_BYTES_MAX = 64 << 20
"""Maximum number of bytes of a refused request's body that are read and thrown away."""

_POLICY_VIOLATION = 1008


async def refuse_route(use: Use, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses a connection whose route is neither metered nor free."""
    path = str(scope["path"])
    is_websocket = scope["type"] == "websocket"
    method = WEBSOCKET if is_websocket else str(scope["method"])
    response = errors.unclear_path(path) if use is Use.UNREADABLE else errors.unknown_route(method, path)
    if is_websocket:
        await _refuse_websocket(response, scope, receive, send)
    else:
        await refuse_body(response, receive, send)


async def refuse_body(response: ErrorResponse, receive: Receive, send: Send, *, has_ended: bool = False) -> None:
    """Sends an error response to a request of which the body may not have been read.

    The body is read first and thrown away: clients send all of theirs before they listen, and those that are cut off
    while sending see a broken connection, never the response, and try again. Of a body longer than
    `DRAIN_BYTES_MAX`, the rest is left to the server, which closes the connection.
    """
    drained = 0
    while not has_ended and drained <= DRAIN_BYTES_MAX:
        message = await receive()
        if message["type"] != "http.request":
            return
        drained += len(message.get("body", b""))
        has_ended = not message.get("more_body", False)
    await send_response(send, response)


async def send_response(send: Send, response: ErrorResponse) -> None:
    """Sends an error response as a whole."""
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": False})


def naming(response: ErrorResponse, request_id: str) -> ErrorResponse:
    """The same refusal with the id by which nodes remember why."""
    return replace(response, headers=[*response.headers, (REQUEST_ID_HEADER, request_id.encode())])


async def _refuse_websocket(response: ErrorResponse, scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        # The server makes it 403.
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
        return
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "websocket.http.response.body", "body": response.body, "more_body": False})
