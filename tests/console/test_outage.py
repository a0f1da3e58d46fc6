"""The control service away, at each page and in the middle of each change."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from playwright.async_api import Locator
from starlette.routing import Route

from tests.harness.console.addresses import address, changes, pages, words
from tests.harness.console.shop import Shop
from tests.harness.console.visitor import Visitor
from tests.harness.tenants.tenant import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORM = "main form[method=post]"
TYPED = "form => [...new FormData(form)].filter(([name]) => name != 'csrf').map(pair => pair.join('='))"


@pytest.mark.parametrize("route", pages(), ids=lambda route: route.path)
async def test_a_page_stays_readable(shop: Shop, lived: Tenant, visitor: Visitor, route: Route) -> None:
    """It is shown as it was read, and says since when nobody has answered, unless nothing had to be asked."""
    path = address(route, words(lived, lived))
    await visitor.be(shop.town.operator)
    await visitor.go(path)
    heading = await visitor.page.locator("h1").inner_text()
    with shop.control.closed():
        status = await visitor.go(path)
        assert await visitor.page.locator("h1").inner_text() == heading
        if status != HTTPStatus.OK:
            said = visitor.page.get_by_role("alert").filter(has_text="since")
            assert "does not answer" in await said.first.inner_text()
            assert await said.first.locator("time").count() >= 1
    await visitor.until_back(path)
    assert await visitor.page.get_by_text("does not answer").count() == 0


@pytest.mark.parametrize("route", changes(), ids=lambda route: route.path)
async def test_a_change_says_that_it_was_not_done(shop: Shop, lived: Tenant, visitor: Visitor, route: Route) -> None:
    """Nothing happens silently, and nothing of what was typed is lost."""
    await visitor.be(shop.town.operator)
    if await visitor.go(address(route, words(lived, lived))) != 200:
        return  # What cannot be done now has no form.
    for number in range(await visitor.page.locator(FORM).count()):
        form = visitor.page.locator(FORM).nth(number)
        await fill(form)
        typed = await form.evaluate(TYPED)
        with shop.control.closed():
            await form.locator("button").last.click()
            await visitor.page.get_by_role("alert").filter(has_text="does not answer").first.wait_for()
        kept = await visitor.page.locator(FORM).evaluate_all(f"forms => forms.map({TYPED})")
        assert any(set(typed) <= set(one) for one in kept), (typed, kept)
        await visitor.until_back(address(route, words(lived, lived)))


async def fill(form: Locator) -> None:
    """Whatever has to be filled in, with something that may be right."""
    for field in await form.locator("input[required]:visible").all():
        if not await field.input_value():
            await field.fill("1")
