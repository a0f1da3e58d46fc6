"""The outside of the console: which hosts it answers to, headers on every answer, and what is said when it fails."""

from __future__ import annotations

import ipaddress
import logging
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # With `no-referrer` a browser would hide from the console where a form comes from.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_HSTS: Final = "max-age=31536000"
POLL: Final = "x-poll"
"""Header of what a page reads again by itself: browsers write each answer of 400 and above down as an error."""
STATUS: Final = "x-status"
"""Header that has the status of the answer to such a read, where that is 400 or above; the answer itself has 200."""
_FAILED: Final = (
    "The console has failed at this; its log says how. Nothing may have been done: look before you repeat it."
)

_log = logging.getLogger(__name__)


class Shell:
    """Wraps the whole application, error pages included."""

    def __init__(self, app: ASGIApp, public_url: str, *, has_tls: bool) -> None:
        self._app = app
        self._host = urlsplit(public_url).hostname or ""
        self._has_tls = has_tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False
        is_poll = POLL in Headers(scope=scope)

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                self._add_headers(headers)
                if is_poll and message["status"] >= HTTPStatus.BAD_REQUEST:
                    headers[STATUS] = str(message["status"])
                    message["status"] = HTTPStatus.OK
            await send(message)

        if not self._answers_to(Headers(scope=scope).get("host", "")):
            # A page of somebody else's, whose name was made to lead here, would be let in otherwise.
            said = "This console is not known by that name: start it with --public-url, or use its address in digits."
            await PlainTextResponse(said, HTTPStatus.MISDIRECTED_REQUEST)(scope, receive, send_on)
            return
        try:
            await self._app(scope, receive, send_on)
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
            if has_begun:
                raise
            await PlainTextResponse(_FAILED, HTTPStatus.INTERNAL_SERVER_ERROR)(scope, receive, send_on)

    def _add_headers(self, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            headers[name] = value
        headers.setdefault("cache-control", "no-store")
        if self._has_tls:
            headers["strict-transport-security"] = _HSTS

    def _answers_to(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in ("localhost", self._host):
            return bool(name)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
