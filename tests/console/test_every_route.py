"""What holds of each address of the console, by its own list of routes: headers, sign-in, forms of others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.routing import Route

from tests.harness.console.addresses import PARAMETER, changes, routes
from tests.harness.console.clerk import Clerk, clerk
from tests.harness.console.shop import Shop

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
}
OTHERS = ("/", "/sign-in", "/no-such-page", "/static/console.css", "/static/console.js", "/static/nothing")
NAMES = "none"
"""Word for all parts of addresses: nothing is called so, and no page gets so far as to look."""


def plain(route: Route) -> str:
    return PARAMETER.sub(NAMES, route.path)


@pytest.fixture(scope="module")
def operator(shop: Shop) -> Iterator[Clerk]:
    with clerk(shop.home) as there:
        there.sign_in(shop.town.operator)
        yield there


@pytest.fixture(scope="module")
def other(shop: Shop) -> Iterator[Clerk]:
    """The same person in another session."""
    with clerk(shop.home) as there:
        there.sign_in(shop.town.operator)
        yield there


@pytest.fixture(scope="module")
def nobody(shop: Shop) -> Iterator[Clerk]:
    """Somebody who never signs in."""
    with clerk(shop.home) as there:
        yield there


@pytest.mark.parametrize("path", [*OTHERS, *(plain(route) for route in routes())])
def test_each_answer_has_the_policy(nobody: Clerk, operator: Clerk, path: str) -> None:
    """Signed in or not, found or not: no script, style or frame of anybody else, and nothing is kept by caches."""
    for answer in (nobody.get(path), operator.get(path)):
        assert set(answer.headers["content-security-policy"].split("; ")) >= POLICY
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        if not path.startswith("/static/console"):
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("route", routes(), ids=lambda route: route.path)
def test_nobody_sees_a_page_without_a_session(nobody: Clerk, route: Route) -> None:
    """Whoever is not signed in is asked to, and comes back to the page."""
    answer = nobody.get(plain(route) + "?a=b")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?next=%2F")
    assert answer.headers["location"].endswith("%3Fa%3Db")


@pytest.mark.parametrize("route", changes(), ids=lambda route: route.path)
def test_a_form_of_another_session_does_nothing(operator: Clerk, other: Clerk, route: Route) -> None:
    """Without the session's own token, with another session's, or from another site, a form is refused."""
    path, own = plain(route), operator.csrf
    for csrf in ("", "x", other.csrf):
        assert operator.post(path, csrf).status_code == 403
    for site in ("cross-site", "same-site", "none"):
        operator.client.headers["sec-fetch-site"] = site
        assert operator.post(path, own).status_code == 403
    del operator.client.headers["sec-fetch-site"]


@pytest.mark.parametrize("route", [route for route in routes() if route not in changes()], ids=lambda route: route.path)
def test_a_page_without_a_form_takes_none(operator: Clerk, route: Route) -> None:
    """No change is made by a request that a page does not offer."""
    assert operator.post(plain(route), operator.csrf).status_code == 405
