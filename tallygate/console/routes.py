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
from tallygate.console.site import Site
from tallygate.console.visit import Visit

Page = Callable[[Visit], Awaitable[Response]]
AWAY: Final = "<!--away-->"
"""Place in each page where it says since when a service has not answered."""
SIGN_IN: Final = "/sign-in"


def at(path: str, show_page: Page, change: Page | None = None) -> Route:
    """A page at a path. `change`: what its form does; where that is refused, the page is shown again and says why."""

    async def endpoint(request: Request) -> Response:
        site: Site = request.app.state.site
        session = session_of(request, site, is_use="part" not in request.query_params)
        if session is None:
            return _asked_to_sign_in(request)
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
    query = request.url.query
    back = request.url.path + (f"?{query}" if query else "")
    said = {"next": back} | ({"ended": "change"} if request.method == "POST" else {})
    return RedirectResponse(f"{SIGN_IN}?{urlencode(said)}", HTTPStatus.SEE_OTHER)


def _failed(visit: Visit, error: CallError) -> Response:
    """The page as it was read last where nobody answers; else what went wrong."""
    visit.status = error.status
    if visit.part:
        return Response(error.sentence, error.status, media_type="text/plain")
    copy = visit.session.copies.of(visit.address) if error.is_away and visit.request.method == "GET" else None
    if copy is None:
        return visit.answer(visit.site.html("error.html", {**visit.common(), "error": error}))
    banner = Markup("<p><strong>{}</strong> So it has been since {}. This page is as it was read at {}.</p>").format(
        error.sentence, show.moment(error.away_since_us), show.moment(copy.read_us)
    )
    return visit.answer(copy.html.replace(AWAY, banner))
