"""Addresses of all pages, by the routes of the console itself: a page that is new is among them by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from starlette.routing import Route

from tallygate.console.pages import PAGES
from tests.harness.tenants.tenant import MODEL, Tenant

PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
PRICE: Final = "1"
"""Version of the price that every shop has."""
KINDS: Final = {
    "account": "tallygate/Account",
    "service": "tallygate/InferenceService",
    "team": "tallygate/Team",
    "key": "tallygate/ApiKey",
    "budget": "tallygate/Budget",
    "rule": "tallygate/RateRule",
    "webhook": "tallygate/Webhook",
    "reservation": "tallygate/Reservation",
    "request": "request_id",
    "robot": "tallygate/ServiceAccount",
    "token": "tallygate/AccessToken",
}
"""Kinds of a tenant's words that stand for a part of an address; a new part needs its own."""


def routes() -> list[Route]:
    """All that somebody may ask for who is signed in."""
    return [route for page in PAGES for route in page.ROUTES]


def pages() -> list[Route]:
    """Those of them that a browser shows: not those that it saves as a file."""
    return [route for route in routes() if not route.path.endswith(".csv")]


def parts(route: Route) -> list[str]:
    """The parts of its path that name something."""
    return PARAMETER.findall(route.path)


def address(route: Route, words: Mapping[str, str]) -> str:
    """The address of a page about what the words name."""
    missing = [part for part in parts(route) if part not in words]
    assert not missing, f"no test knows what {missing} of {route.path} stands for: add it to `KINDS`"
    return PARAMETER.sub(lambda found: words[found[1]], route.path)


def takes_changes(route: Route) -> bool:
    """Whether a form is sent there."""
    return "POST" in (route.methods or ())


def changes() -> list[Route]:
    """Pages with a form."""
    return [route for route in routes() if takes_changes(route)]


def words(account: Tenant, things: Tenant) -> dict[str, str]:
    """What stands for the parts of addresses: somebody's account, and somebody's things in it."""
    named = {part: things.words[kind][-1].rpartition("/")[2] for part, kind in KINDS.items()}
    return {**named, "model": MODEL.rpartition("/")[2], "price": PRICE, "account": account.account_id}
