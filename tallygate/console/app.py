"""The application: its routes, and the channels that live as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from tallygate._channel import Channels
from tallygate._server.clock import Clock
from tallygate.console import oidc, sign_in
from tallygate.console.calls import Link
from tallygate.console.pages import PAGES
from tallygate.console.routes import at
from tallygate.console.sessions import RandomText, Sessions
from tallygate.console.shell import Shell
from tallygate.console.site import ConsoleSettings, Site
from tallygate.console.visit import Visit


def build(
    settings: ConsoleSettings,
    control: Sequence[str],
    metering: Sequence[str],
    channels: Channels,
    *,
    clock: Clock,
    random_text: RandomText,
) -> Starlette:
    """The console of one pair.

    Args:
        settings: What whoever runs it says.
        control: Addresses of the control service's replicas.
        metering: Addresses of metering nodes.
        channels: How these are reached.
        clock: Tells the time, and measures the life of sessions.
        random_text: A text that nobody can guess, for ids and tokens.
    """
    site = Site(
        settings=settings,
        clock=clock,
        random_text=random_text,
        control=Link("the control service", control, channels, clock),
        metering=Link("the metering service", metering, channels, clock),
        nav=[entry for page in PAGES for entry in page.NAV],
        sessions=Sessions(clock, random_text),
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await site.control.close()
        await site.metering.close()

    app = Starlette(
        routes=[
            Route("/static/{name}", site.serve_asset),
            at("/", _first_page),
            at("/switch", _switch),
            *sign_in.ROUTES,
            *oidc.ROUTES,
            *(route for page in PAGES for route in page.ROUTES),
        ],
        middleware=[Middleware(Shell, settings.public_url, has_tls=settings.has_tls)],
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )
    app.state.site = site
    return app


async def _first_page(visit: Visit) -> Response:
    """To the first page that the caller may see."""
    if entries := visit.nav:
        return RedirectResponse(entries[0].address, HTTPStatus.SEE_OTHER)
    return visit.page("nothing.html")


async def _switch(visit: Visit) -> Response:
    """To an account that somebody chose or typed."""
    visit.session.account = visit.query("account")
    return RedirectResponse("/", HTTPStatus.SEE_OTHER)


async def _refused(request: Request, error: Exception) -> Response:
    """What the console itself refuses, such as an address that there is not."""
    assert isinstance(error, HTTPException)
    site: Site = request.app.state.site
    said = "There is no such page." if error.status_code == HTTPStatus.NOT_FOUND else error.detail
    return HTMLResponse(site.html("refused.html", {"said": said}), error.status_code, error.headers)
