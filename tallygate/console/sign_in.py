"""The sign-in by an access token, the sign-out, and where either leads."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import grpc
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from tallygate._channel import TOKEN_BYTES_MAX
from tallygate.console.calls import READ_TIMEOUT_S, CallError
from tallygate.console.cookies import (
    browser_mark,
    forget_session,
    is_of_browser,
    keep_browser_mark,
    keep_session,
    session_of,
)
from tallygate.console.forms import read_form
from tallygate.console.identity import identify
from tallygate.console.routes import SIGN_IN, renewal, require_own
from tallygate.console.site import Site
from tallygate.control.v1 import token_service_pb2
from tallygate.control.v1.token_service_pb2_grpc import TokenServiceStub

SIGN_OUT: Final = "/sign-out"
HOME: Final = "/"
_CHARACTERS_MAX: Final = 2_000


def safe_path(text: str) -> str:
    """The path of a page of this console; the first page for any other text, which would lead elsewhere."""
    if not text.isascii() or not text.isprintable() or len(text) > _CHARACTERS_MAX:
        return HOME
    if not text.startswith("/") or text[1:2] in ("/", "\\"):
        return HOME
    try:
        parts = urlsplit(text)
    except ValueError:
        return HOME
    return HOME if parts.scheme or parts.netloc or parts.path == SIGN_IN else text


async def show_sign_in(request: Request) -> Response:
    """The sign-in page; whoever is signed in is led on."""
    site: Site = request.app.state.site
    back = safe_path(request.query_params.get("next", ""))
    if session_of(request, site) is not None:
        return RedirectResponse(back, HTTPStatus.SEE_OTHER)
    said = "Your session has ended, and nothing was done. Sign in and press again." if _was_change(request) else ""
    return await sign_in_page(request, back, said)


async def sign_in(request: Request) -> Response:
    """Sign in by what was typed: a token, or nothing at a pair that asks for no proof."""
    site: Site = request.app.state.site
    form = await read_form(request)
    back, token = safe_path(form.text("next")), form.text("token")
    if not is_of_browser(request, form.text("csrf"), site) or _is_foreign(request):
        return await sign_in_page(request, back, "The page was too old. Sign in again.", HTTPStatus.FORBIDDEN)
    problem = _token_problem(token) if form.text("how") != "open" else ""
    if problem:
        return await sign_in_page(request, back, problem, HTTPStatus.BAD_REQUEST)
    try:
        return await signed_in(request, token, back)
    except CallError as error:
        return await sign_in_page(request, back, error.sentence, error.status)


async def signed_in(request: Request, credential: str, back: str, issuer: str = "") -> Response:
    """Begin a session under a new id, whatever the browser said before. Raises CallError."""
    site: Site = request.app.state.site
    caller = await identify(site, credential)
    session = site.sessions.begin(credential, caller, issuer, before=session_of(request, site))
    response = RedirectResponse(back, HTTPStatus.SEE_OTHER)
    keep_session(response, session, site)
    return response


async def sign_out(request: Request) -> Response:
    """End the session; a token that was given for a sign-in opens nothing from then on."""
    site: Site = request.app.state.site
    session = session_of(request, site)
    form = await read_form(request)
    response = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER)
    if session is not None:
        require_own(request, form, session.csrf)
        site.sessions.end(session)
        if session.issuer:
            await _delete_token(site, session.credential, session.caller.access_token)
    forget_session(response, site)
    return response


async def sign_in_page(request: Request, back: str, said: str = "", status: HTTPStatus = HTTPStatus.OK) -> Response:
    """The page with all ways in."""
    site: Site = request.app.state.site
    is_open, is_away, issuers = False, False, list[token_service_pb2.SignInIssuer]()
    try:
        is_open = await _asks_for_no_proof(site)
        options = TokenServiceStub(site.control.channel("", READ_TIMEOUT_S))
        issuers = list((await options.GetSignInOptions(token_service_pb2.GetSignInOptionsRequest())).issuers)
    except CallError as error:
        is_away = error.is_away and not said
        said, status = said or error.sentence, error.status if status == HTTPStatus.OK else status
    return _ways_in(request, back, said, status, is_open=is_open, is_away=is_away, issuers=issuers)


async def refused_sign_in(request: Request, back: str, error: CallError) -> Response:
    """What the service said against a sign-in. While it is away there are no ways in, and the page is tried again."""
    if error.is_away:
        return _ways_in(request, back, error.sentence, error.status, is_open=False, is_away=True, issuers=[])
    return await sign_in_page(request, back, error.sentence, error.status)


def _ways_in(
    request: Request,
    back: str,
    said: str,
    status: HTTPStatus,
    *,
    is_open: bool,
    is_away: bool,
    issuers: Sequence[token_service_pb2.SignInIssuer],
) -> Response:
    site: Site = request.app.state.site
    mark = browser_mark(request, site)
    values = {
        "csrf": mark,
        "next": back,
        "said": said,
        "is_open": is_open,
        "is_away": is_away,
        "issuers": issuers,
        "renewal": renewal,
    }
    response = HTMLResponse(site.html("sign_in.html", values), status)
    keep_browser_mark(response, mark, site)
    return response


async def _asks_for_no_proof(site: Site) -> bool:
    try:
        return not (await identify(site, "")).member
    except CallError as error:
        if error.code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return False
        raise


async def _delete_token(site: Site, credential: str, name: str) -> None:
    """Have the service forget a token; where it does not answer, the token ends by itself within minutes."""
    stub = TokenServiceStub(site.control.channel(credential, READ_TIMEOUT_S))
    request = token_service_pb2.DeleteAccessTokenRequest(name=name, idempotency_key=site.random_text())
    try:
        await stub.DeleteAccessToken(request)
    except CallError:
        return


def _token_problem(token: str) -> str:
    if not token:
        return "Paste an access token."
    if len(token) > TOKEN_BYTES_MAX or not all("!" <= letter <= "~" for letter in token):
        return "That is no token: a token is one word of visible ASCII letters."
    return ""


def _is_foreign(request: Request) -> bool:
    return request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


def _was_change(request: Request) -> bool:
    return request.query_params.get("ended") == "change"


ROUTES: Final = (
    Route(SIGN_IN, show_sign_in, methods=["GET"]),
    Route(SIGN_IN, sign_in, methods=["POST"]),
    Route(SIGN_OUT, sign_out, methods=["POST"]),
)
