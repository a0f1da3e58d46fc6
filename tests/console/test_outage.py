"""The control service away, at each page and in the middle of each change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlencode

import httpx2
import pytest
from playwright.async_api import Route as PageRoute
from starlette.routing import Route

from tests.harness.console.addresses import address, changes, pages, words
from tests.harness.console.clerk import FORM, Clerk, clerk
from tests.harness.console.page_forms import forms_in
from tests.harness.console.shop import Shop
from tests.harness.console.visitor import Visitor
from tests.harness.patience import turns
from tests.harness.tenants.tenant import Tenant

HEADING = re.compile(r"<h1[ >].*?</h1>", re.DOTALL)
SINCE = re.compile(r"does not answer\..*since <time ", re.DOTALL)


AT_A_TIME = 12
"""Number of pages that are read between two outages."""


class Pressed(NamedTuple):
    """A form as it was sent, and the answer."""

    sent: list[tuple[str, str]]
    answer: httpx2.Response


@pytest.fixture(scope="module")
def operator(shop: Shop) -> Iterator[Clerk]:
    with clerk(shop.home) as there:
        there.sign_in(shop.town.operator)
        yield there


@pytest.fixture(scope="module")
def pages_read(shop: Shop, lived: Tenant, operator: Clerk) -> Mapping[str, tuple[httpx2.Response, httpx2.Response]]:
    """Each page as it was read before, and while nobody answered: some at a time, as copies of so many are kept."""
    found = {}
    paths = [address(route, words(lived, lived)) for route in pages()]
    for start in range(0, len(paths), AT_A_TIME):
        before = {path: operator.get(path) for path in paths[start : start + AT_A_TIME]}
        with shop.control.closed():
            found.update({path: (page, operator.get(path)) for path, page in before.items()})
        when_back(operator, lived)
    return found


@pytest.mark.parametrize("route", pages(), ids=lambda route: route.path)
def test_a_page_stays_readable(
    lived: Tenant,
    operator: Clerk,
    pages_read: Mapping[str, tuple[httpx2.Response, httpx2.Response]],
    route: Route,
) -> None:
    """It is shown as it was read, and says since when nobody has answered, unless nothing had to be asked."""
    path = address(route, words(lived, lived))
    before, answer = pages_read[path]
    assert HEADING.findall(answer.text) == HEADING.findall(before.text)
    assert answer.status_code == before.status_code or SINCE.search(answer.text), answer.text
    assert "does not answer" not in operator.get(path).text


@pytest.fixture(scope="module")
def pressed(shop: Shop, lived: Tenant, operator: Clerk) -> Mapping[str, list[Pressed]]:
    """What came of each form that was sent while nobody answered, by the page's path."""
    found = {}
    read = {path: operator.get(path) for path in (address(route, words(lived, lived)) for route in changes())}
    assert all(forms_in(page.text) or page.status_code != HTTPStatus.OK for page in read.values())
    with shop.control.closed():
        for path, page in read.items():
            sent = [form.filled() for form in forms_in(page.text)]
            found[path] = [
                Pressed(one, operator.client.post(path, content=urlencode(one), headers=FORM)) for one in sent
            ]
    when_back(operator, lived)
    return found


@pytest.mark.parametrize("route", changes(), ids=lambda route: route.path)
def test_a_change_says_that_it_was_not_done(lived: Tenant, pressed: Mapping[str, list[Pressed]], route: Route) -> None:
    """Nothing happens silently, and nothing of what was typed is lost."""
    for sent, answer in pressed[address(route, words(lived, lived))]:
        assert answer.status_code in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}, answer.text
        assert "does not answer" in answer.text
        kept = [set(one.fields) for one in forms_in(answer.text)]
        typed = {(name, value) for name, value in sent if value}
        assert any(typed <= one for one in kept), (typed, kept)


@pytest.mark.asyncio(loop_scope="session")
async def test_an_open_page_says_so_by_itself(shop: Shop, lived: Tenant, visitor: Visitor) -> None:
    """While nobody touches it, and says no more once control is back."""
    await visitor.be(shop.town.operator)
    await visitor.go(f"/{lived.name}/services")
    with shop.control.closed():
        said = visitor.page.get_by_role("alert").filter(has_text="does not answer")
        await said.wait_for()
        assert "since" in await said.inner_text()
        assert await visitor.page.get_by_role("table").count() == 1
    await said.wait_for(state="detached")


@pytest.mark.asyncio(loop_scope="session")
async def test_an_open_page_that_is_led_elsewhere_says_so(shop: Shop, lived: Tenant, visitor: Visitor) -> None:
    """As by a proxy in front of the console, whose own sign-in has ended."""
    await visitor.be(shop.town.operator)
    await visitor.go(f"/{lived.name}/services")

    async def lead_away(route: PageRoute) -> None:
        await route.fulfill(status=HTTPStatus.FOUND, headers={"location": "/elsewhere"})

    await visitor.page.route("**/*part=*", lead_away)
    said = visitor.page.get_by_role("alert").filter(has_text="The console does not answer.")
    await said.wait_for()
    await visitor.page.unroute_all()
    await said.wait_for(state="detached")


def when_back(operator: Clerk, lived: Tenant) -> None:
    """Wait until control answers again, which the page of services needs."""
    for _ in turns():
        if operator.get(f"/{lived.name}/services").status_code == HTTPStatus.OK:
            return
