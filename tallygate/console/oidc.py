"""The sign-in with an issuer: to its pages and back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import httpx2
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tallygate._sign_in_flow import (
    ANSWER_HEADERS,
    TOKEN_TIMEOUT_S,
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
from tallygate.console import sign_in
from tallygate.console.attempts import Pending
from tallygate.console.calls import READ_TIMEOUT_S, CallError
from tallygate.console.cookies import browser_mark, is_of_browser, keep_browser_mark, session_of
from tallygate.console.routes import SIGN_IN
from tallygate.console.site import Site
from tallygate.control.v1 import token_service_pb2 as pb
from tallygate.control.v1.token_service_pb2_grpc import TokenServiceStub

CALLBACK: Final = f"{SIGN_IN}/callback"


async def go(request: Request) -> Response:
    """To the issuer's page."""
    site: Site = request.app.state.site
    back = sign_in.safe_path(request.query_params.get("next", ""))
    try:
        issuer = await _issuer(site, request.query_params.get("issuer", ""))
        check_issuer(issuer)
    except SignInError as error:
        return await sign_in.sign_in_page(request, back, str(error), HTTPStatus.BAD_REQUEST)
    except CallError as error:
        if error.is_away and session_of(request, site) is not None:
            # A renewal is not due by the second: the page that asked for it is shown as it was read.
            return RedirectResponse(back, HTTPStatus.SEE_OTHER)
        return await sign_in.refused_sign_in(request, back, error)
    base = site.settings.public_url or f"{request.url.scheme}://{request.headers['host']}"
    attempt, mark = begin(base + CALLBACK, site.random_text), browser_mark(request, site)
    site.attempts.keep(Pending(attempt, issuer, mark, back, site.clock.monotonic_ns()))
    response = RedirectResponse(sign_in_page(issuer, attempt), HTTPStatus.SEE_OTHER)
    keep_browser_mark(response, mark, site)
    return response


async def come_back(request: Request) -> Response:
    """From the issuer's page, with a code or a refusal."""
    site: Site = request.app.state.site
    answer = {name: value for name, value in request.query_params.items() if value}
    pending = site.attempts.take(answer.get("state", ""), site.clock.monotonic_ns())
    if pending is None or not is_of_browser(request, pending.mark, site):
        said = "This is not an answer to a sign-in that was begun here in this browser. Sign in again."
        return await sign_in.sign_in_page(request, sign_in.HOME, said, HTTPStatus.BAD_REQUEST)
    try:
        id_token = await _redeem(pending, code_of(pending.issuer, answer))
        exchange = TokenServiceStub(site.control.channel("", READ_TIMEOUT_S)).ExchangeToken
        given = await exchange(pb.ExchangeTokenRequest(id_token=id_token))
        return await sign_in.signed_in(request, given.secret, pending.back, pending.issuer.issuer)
    except SignInError as error:
        return await sign_in.sign_in_page(request, pending.back, str(error), HTTPStatus.UNAUTHORIZED)
    except CallError as error:
        return await sign_in.sign_in_page(request, pending.back, error.sentence, error.status)


async def _issuer(site: Site, wanted: str) -> pb.SignInIssuer:
    """What the control service says of an issuer. Raises SignInError, CallError."""
    if not site.control.keeps_secrets:
        raise SignInError(
            "Nobody signs in by way of a control service in plain text, where anybody on the way could sign in "
            "instead: whoever runs this console must name the authority of its certificate."
        )
    stub = TokenServiceStub(site.control.channel("", READ_TIMEOUT_S))
    options = await stub.GetSignInOptions(pb.GetSignInOptionsRequest())
    found = next((one for one in options.issuers if one.issuer == wanted), None)
    if found is None:
        raise SignInError("Nobody signs in here with that issuer. Choose another way.")
    return found


async def _redeem(pending: Pending, code: str) -> str:
    """The id token that the issuer gives for a code. Raises SignInError."""
    issuer, url = pending.issuer, pending.issuer.token_endpoint
    form = code_form(issuer, pending.attempt, code)
    try:
        async with (
            httpx2.AsyncClient(
                timeout=TOKEN_TIMEOUT_S, follow_redirects=False, trust_env=not is_this_machine(url)
            ) as client,
            client.stream("POST", url, data=form, headers=ANSWER_HEADERS) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                check_size(issuer, body)
    except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
        raise not_answered(issuer, error) from error
    return id_token_of(issuer, pending.attempt, response.status_code, bytes(body))


ROUTES: Final = (
    Route(f"{SIGN_IN}/oidc", go, methods=["GET"]),
    Route(CALLBACK, come_back, methods=["GET"]),
)
