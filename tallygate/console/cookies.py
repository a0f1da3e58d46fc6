"""Cookies: one for the session, and one by which a browser is known again while somebody signs in."""

from __future__ import annotations

import hmac
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from tallygate.console.sessions import Session
from tallygate.console.site import ConsoleSettings, Site

_SESSION: Final = "tallygate-session"
_BROWSER: Final = "tallygate-browser"
MARK_CHARACTERS_MAX: Final = 100
"""Maximum length of a browser's mark, which is kept while somebody signs in; another one is nobody's."""
_HOST: Final = "__Host-"
"""Prefix of cookies that browsers take from this very host alone, and by TLS."""


def session_of(request: Request, site: Site, *, is_use: bool = True) -> Session | None:
    """The session that the browser's cookie names; None where there is none, or it has ended."""
    return site.sessions.find(request.cookies.get(_name(_SESSION, site.settings), ""), is_use=is_use)


def keep_session(response: Response, session: Session, site: Site) -> None:
    """Have the browser say which session is its own."""
    _keep(response, _SESSION, session.id, site.settings)
    _forget(response, _BROWSER, site.settings)


def forget_session(response: Response, site: Site) -> None:
    """Have the browser say nothing any more."""
    _forget(response, _SESSION, site.settings)


def browser_mark(request: Request, site: Site) -> str:
    """What the browser is known by before anybody has signed in; a new mark where it has none."""
    said = request.cookies.get(_name(_BROWSER, site.settings), "")
    return said if 0 < len(said) <= MARK_CHARACTERS_MAX else site.random_text()


def keep_browser_mark(response: Response, mark: str, site: Site) -> None:
    """Have the browser say its mark with what follows."""
    _keep(response, _BROWSER, mark, site.settings)


def is_of_browser(request: Request, mark: str, site: Site) -> bool:
    """Whether the browser says this mark; an empty one is nobody's."""
    said = request.cookies.get(_name(_BROWSER, site.settings), "")
    return bool(mark) and hmac.compare_digest(said.encode(), mark.encode())


def _name(cookie: str, settings: ConsoleSettings) -> str:
    return f"{_HOST}{cookie}" if settings.has_tls else cookie


def _keep(response: Response, cookie: str, value: str, settings: ConsoleSettings) -> None:
    # Lax, not strict: whoever comes back from an issuer's page comes from another site.
    name = _name(cookie, settings)
    response.set_cookie(name, value, path="/", secure=settings.has_tls, httponly=True, samesite="lax")


def _forget(response: Response, cookie: str, settings: ConsoleSettings) -> None:
    name = _name(cookie, settings)
    response.delete_cookie(name, path="/", secure=settings.has_tls, httponly=True, samesite="lax")
