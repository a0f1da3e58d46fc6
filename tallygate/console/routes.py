"""Routes of pages: whoever is not signed in is asked to, changes are checked, and refusals keep what was typed."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

import grpc
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tallygate.console import show
from tallygate.console.calls import CallError
from tallygate.console.cookies import session_of
from tallygate.console.forms import FieldError, Form, read_form
from tallygate.console.identity import refresh
from tallygate.console.sessions import Session
from tallygate.console.site import Site
from tallygate.console.visit import FORM_KEY, Visit

Page = Callable[[Visit], Awaitable[Response]]
AWAY: Final = "<!--away-->"
"""Place in each page where it says since when a service has not answered."""
SIGN_IN: Final = "/sign-in"
PAGE_S: Final = 120
"""Number of seconds before the end of a sign-in with an issuer from which on a page renews it."""
PART_S: Final = 60
"""Number of the same seconds for an open page that reads itself again: then it is loaded as a whole."""


def at(path: str, show_page: Page, change: Page | None = None) -> Route:
    """A page at a path. `change`: what its form does; where that is refused, the page is shown again and says why."""

    async def endpoint(request: Request) -> Response:
        site: Site = request.app.state.site
        is_part = "part" in request.query_params
        session = session_of(request, site, is_use=not is_part)
        if session is None or (is_part and _is_due(site, session, PART_S)):
            return _asked_to_sign_in(request)
        # After a change it waits: a browser whose form leads to another host, by however many steps, goes nowhere.
        is_page = request.method == "GET" and not is_part
        if is_page and not session.has_notices and _is_due(site, session, PAGE_S):
            return RedirectResponse(renewal(session.issuer, _back(request)), HTTPStatus.SEE_OTHER)
        form = await read_form(request) if request.method == "POST" else Form()
        visit = Visit(request, session, site, form)
        try:
            if request.method != "POST":
                await refresh(site, session)
                return await show_page(visit)
            require_own(request, form, session.csrf)
            assert change is not None
            return await _changed(visit, show_page, change)
        except CallError as error:
            if error.code == grpc.StatusCode.UNAUTHENTICATED:
                site.sessions.end(session)
                return _asked_to_sign_in(request)
            return _failed(visit, error)

    return Route(path, endpoint, methods=["GET", "POST"] if change else ["GET"])


async def _changed(visit: Visit, show_page: Page, change: Page) -> Response:
    """The answer to a change; a refusal shows the form again, with all that was typed."""
    try:
        return await change(visit)
    except FieldError as error:
        visit.refuse(error)
    except CallError as error:
        if error.code == grpc.StatusCode.UNAUTHENTICATED:
            raise
        visit.refuse(error)
        if error.code == grpc.StatusCode.DEADLINE_EXCEEDED:
            visit.errors[""] += " It may have been done all the same: press again, and it is done once."
    answer = await show_page(visit)
    answer.status_code = visit.status
    return answer


def require_own(request: Request, form: Form, csrf: str) -> None:
    """Refuse a form that no page of this session was. Raises HTTPException."""
    site_of_form = request.headers.get("sec-fetch-site", "same-origin")
    if site_of_form != "same-origin" or not hmac.compare_digest(form.text("csrf").encode(), csrf.encode()):
        raise HTTPException(
            HTTPStatus.FORBIDDEN, "The form is not one of your session. Nothing was done; open the page again."
        )


def _asked_to_sign_in(request: Request) -> Response:
    """To the sign-in, and back to this page. A live part is told by the status, and a change has not been done."""
    if "part" in request.query_params:
        return Response("Your session has ended.", HTTPStatus.UNAUTHORIZED, media_type="text/plain")
    said = {"next": _back(request)} | ({"ended": "change"} if request.method == "POST" else {})
    return RedirectResponse(f"{SIGN_IN}?{urlencode(said)}", HTTPStatus.SEE_OTHER)


def renewal(issuer: str, back: str) -> str:
    """Where somebody signs in with an issuer, to come back to this page."""
    return f"{SIGN_IN}/oidc?{urlencode({'issuer': issuer, 'next': back})}"


def _is_due(site: Site, session: Session, within_s: int) -> bool:
    """Whether the sign-in with an issuer ends so soon: it is renewed while nothing is typed, mostly without a word.

    Not while control is away, when nobody signs in, and pages are shown as they were read.
    """
    is_near = bool(session.issuer) and session.ends_within(site.clock.monotonic_ns(), within_s)
    return is_near and site.control.away_since_us is None


def _back(request: Request) -> str:
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def _failed(visit: Visit, error: CallError) -> Response:
    """The page as it was read last where nobody answers; else what went wrong."""
    visit.status = error.status
    if not error.is_away:
        visit.session.copies.forget(visit.address)
    if visit.part:
        return Response(error.sentence, error.status, media_type="text/plain")
    copy = visit.session.copies.of(visit.address) if error.is_away and visit.request.method == "GET" else None
    if copy is None:
        return visit.answer(visit.site.html("error.html", {**visit.common(), "error": error}))
    banner = Markup(
        "<p data-retry><strong>{}</strong> So it has been since {}. This page is as it was read at {}.</p>"
    ).format(error.sentence, show.moment(error.away_since_us), show.moment(copy.read_us))
    return visit.answer(copy.html.replace(AWAY, banner).replace(FORM_KEY, visit.idempotency_key))
