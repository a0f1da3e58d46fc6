"""The sign-in with a browser: OpenID Connect's authorization code flow with PKCE, and its end on this machine."""

from __future__ import annotations

import hmac
import html
import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from tallygate._sign_in_flow import (
    ANSWER_HEADERS,
    TOKEN_TIMEOUT_S,
    Answer,
    Attempt,
    SignInError,
    begin,
    check_issuer,
    check_size,
    code_form,
    code_of,
    id_token_of,
    not_answered,
    sign_in_page,
)
from tallygate._web_address import is_this_machine
from tallygate.control.v1.token_service_pb2 import SignInIssuer

BROWSER_TIMEOUT_S: Final = 300.0
"""Timeout of what a person does in the browser."""
REQUEST_TIMEOUT_S: Final = 10.0
"""Timeout of a browser's connection that says nothing: browsers open some ahead of need."""
RANDOM_BYTES: Final = 32
"""Number of random bytes in whatever nobody may guess."""

_PATH: Final = "/callback"


def sign_in(
    issuer: SignInIssuer,
    open_browser: Callable[[str], object],
    *,
    callback_port: int = 0,
    timeout_s: float = BROWSER_TIMEOUT_S,
    random_text: Callable[[int], str] = secrets.token_urlsafe,
) -> str:
    """The id token of whoever signs in.

    Args:
        issuer: what control says of it.
        open_browser: is told the address to which a browser must go.
        callback_port: port of this machine to which the browser comes back, for issuers that must know it beforehand;
            0 takes a free one.
        timeout_s: how long to wait for the person.
        random_text: a text that nobody can guess, of so many random bytes.

    Raises:
        SignInError: the person or the issuer said no, or nothing in time, or the port is taken.
    """
    check_issuer(issuer)
    attempt = begin("", lambda: random_text(RANDOM_BYTES))
    with _callback(attempt.state, callback_port) as (redirect_uri, answers):
        attempt = replace(attempt, redirect_uri=redirect_uri)
        open_browser(sign_in_page(issuer, attempt))
        try:
            answer = answers.get(timeout=timeout_s)
        except queue.Empty:
            raise SignInError(f"Nobody signed in within {timeout_s:g} s; run the command again.") from None
    return _redeem(issuer, attempt, code_of(issuer, answer))


@contextmanager
def _callback(state: str, port: int) -> Iterator[tuple[str, queue.Queue[Answer]]]:
    """An address to which the browser is sent back, and the answer that comes there with the right state."""
    answers: queue.Queue[Answer] = queue.Queue()

    class Handler(_CallbackHandler):
        expected_state = state
        found = answers

    with _listening(port, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{_PATH}", answers
        finally:
            server.shutdown()
            thread.join()


def _listening(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server with a thread for each connection: one that a browser holds in reserve must not hold up the answer."""
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        raise SignInError(f"The browser cannot come back to port {port}, which cannot be had; take another.") from error


class _CallbackHandler(BaseHTTPRequestHandler):
    """Takes the issuer's answer from the browser. What comes without the state of this sign-in counts as nothing."""

    timeout = REQUEST_TIMEOUT_S
    expected_state: str
    found: queue.Queue[Answer]

    def do_GET(self) -> None:
        """Answer the browser, and pass on what it brings."""
        parts = urlsplit(self.path)
        answer = {name: values[0] for name, values in parse_qs(parts.query).items() if len(values) == 1}
        if parts.path != _PATH:
            self._say(HTTPStatus.NOT_FOUND, "There is nothing here.")
        elif not hmac.compare_digest(answer.get("state", "").encode(), self.expected_state.encode()):
            self._say(HTTPStatus.BAD_REQUEST, "This is not an answer to the sign-in that tallygate has begun.")
        elif "code" in answer:
            self._say(HTTPStatus.OK, "Signed in. You can close this window and go on in the terminal.")
            self.found.put(answer)
        else:
            self._say(HTTPStatus.OK, "Not signed in. The terminal says why.")
            self.found.put(answer)

    def _say(self, status: HTTPStatus, sentence: str) -> None:
        page = f"<!doctype html><meta charset=utf-8><title>tallygate</title><p>{html.escape(sentence)}".encode()
        self.send_response(status)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(page)))
        self.send_header("connection", "close")
        # The address has the code in it, which must not go on to anybody.
        self.send_header("referrer-policy", "no-referrer")
        self.send_header("cache-control", "no-store")
        self.end_headers()
        self.wfile.write(page)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a log of addresses would have the code in it."""


def _redeem(issuer: SignInIssuer, attempt: Attempt, code: str) -> str:
    """The id token that the issuer gives for a code."""
    import httpx2  # noqa: PLC0415  # takes long, and only a sign-in needs it

    url, form = issuer.token_endpoint, code_form(issuer, attempt, code)
    try:
        with (
            httpx2.Client(
                timeout=TOKEN_TIMEOUT_S, follow_redirects=False, trust_env=not is_this_machine(url)
            ) as client,
            client.stream("POST", url, data=form, headers=ANSWER_HEADERS) as response,
        ):
            body = bytearray()
            for chunk in response.iter_raw():
                body += chunk
                check_size(issuer, body)
    except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
        raise not_answered(issuer, error) from error
    return id_token_of(issuer, attempt, response.status_code, bytes(body))
