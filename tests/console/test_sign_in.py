"""Signing in and out in a browser, and what of it is seen where."""

from __future__ import annotations

import pytest

from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import limit_service_pb2 as limits
from tallygate.control.v1 import token_service_pb2 as tokens
from tallygate.control.v1.budget_pb2 import BudgetUnit, CalendarPeriod
from tests.harness.console.shop import Shop
from tests.harness.console.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_token_signs_in_and_leads_back(shop: Shop, visitor: Visitor) -> None:
    """To the page that was asked for; the token is in no address, no page and no storage that scripts can read."""
    customer = shop.new_customer()
    path = f"/{customer.name}/models?alias=llama"
    await visitor.sign_in(customer.owner, path)
    assert visitor.page.url == shop.home + path
    assert all(customer.owner not in one for one in (*visitor.requests, await visitor.page.content()))
    assert await visitor.page.evaluate("document.cookie + localStorage.length + sessionStorage.length") == "00"
    cookies = {one["name"]: one for one in await visitor.context.cookies()}
    assert all(one["httpOnly"] and one["sameSite"] == "Lax" for one in cookies.values())
    assert list(cookies) == ["tallygate-session"]


async def test_a_token_that_opens_nothing_is_refused(visitor: Visitor) -> None:
    """In a sentence that is read out, with the field still there."""
    await visitor.go("/sign-in")
    await visitor.page.get_by_label("Access token").fill("tgt_none")
    await visitor.page.get_by_role("button", name="Sign in", exact=True).click()
    assert await visitor.page.get_by_role("alert").inner_text()
    await visitor.page.get_by_label("Access token").wait_for()


async def test_a_credential_that_ends_asks_for_another(shop: Shop, visitor: Visitor) -> None:
    """The page asks to sign in, and is come back to."""
    customer = shop.new_customer()
    path = f"/{customer.name}/models"
    await visitor.sign_in(customer.owner, path)
    me = shop.town.do(access.WhoAmIRequest(), customer.owner)
    another = shop.town.do(tokens.CreateAccessTokenRequest(service_account=me.member.removeprefix("serviceAccount:")))
    shop.town.do(tokens.DeleteAccessTokenRequest(name=me.access_token))
    await visitor.go(path)
    assert "/sign-in?" in visitor.page.url
    await visitor.page.get_by_label("Access token").fill(another.secret)
    await visitor.page.get_by_role("button", name="Sign in", exact=True).click()
    await visitor.page.wait_for_url(shop.home + path)


async def test_whoever_signs_out_is_gone(shop: Shop, visitor: Visitor) -> None:
    """Nothing comes back by the browser's own way back."""
    customer = shop.new_customer()
    await visitor.sign_in(customer.owner)
    await visitor.page.locator("header summary").last.click()
    await visitor.page.get_by_role("button", name="Sign out").click()
    await visitor.page.wait_for_url("**/sign-in")
    await visitor.page.go_back()
    await visitor.page.wait_for_url("**/sign-in*")
    assert customer.account_id not in await visitor.page.inner_text("body")


async def test_what_was_typed_outlives_the_session(shop: Shop, visitor: Visitor) -> None:
    """Whoever signs in again finds it in the form, and sends it; somebody else does not, and nothing of it stays."""
    customer, other = shop.new_customer(), shop.new_customer()
    path = f"/{customer.name}/create-service"
    await visitor.sign_in(customer.owner, path)
    await _press_without_session(visitor)
    await _sign_in_here(visitor, customer.owner)
    await visitor.page.wait_for_url(shop.home + path)
    assert await visitor.page.get_by_label("Id", exact=True).input_value() == "support-bot"
    assert await visitor.page.get_by_label("Name for people").input_value() == "For the desk"
    await _press_without_session(visitor)
    await _sign_in_here(visitor, other.owner)
    await visitor.page.wait_for_url(shop.home + path)
    assert "For the desk" not in await visitor.page.content()
    assert await visitor.page.evaluate("sessionStorage.length") == 0


async def test_what_nobody_typed_is_as_it_is_by_then(shop: Shop, visitor: Visitor) -> None:
    """A field that was not touched is not put back over what somebody else has changed meanwhile."""
    customer = shop.new_customer()
    budget = limits.CreateBudgetRequest(
        name=f"{customer.name}/budgets/monthly",
        unit=BudgetUnit.BUDGET_UNIT_TOKENS,
        amount_units=100,
        period=CalendarPeriod.CALENDAR_PERIOD_MONTH,
    )
    shop.town.do(budget, customer.owner)
    path = f"/{budget.name}/edit"
    await visitor.sign_in(customer.owner, path)
    await visitor.context.clear_cookies()
    await visitor.page.get_by_label("Alerts at so many percent").fill("50")
    await visitor.page.get_by_role("button", name="Change it").click()
    await visitor.page.wait_for_url("**/sign-in?*")
    shop.town.do(limits.UpdateBudgetRequest(name=budget.name, amount_units=7), customer.owner)
    await _sign_in_here(visitor, customer.owner)
    await visitor.page.wait_for_url(shop.home + path)
    assert await visitor.page.get_by_label("Alerts at so many percent").input_value() == "50"
    assert await visitor.page.get_by_label("Amount in tokens").input_value() == "7"


async def test_what_was_sent_is_typed_no_more(shop: Shop, visitor: Visitor) -> None:
    """The form is empty when it is opened again."""
    customer = shop.new_customer()
    path = f"/{customer.name}/create-service"
    await visitor.sign_in(customer.owner, path)
    await _type_and_press(visitor)
    await visitor.page.wait_for_url(lambda url: not url.endswith("/create-service"))
    await visitor.go(path)
    assert await visitor.page.get_by_label("Id", exact=True).input_value() == ""
    assert await visitor.page.evaluate("sessionStorage.length") == 0


async def _press_without_session(visitor: Visitor) -> None:
    await visitor.context.clear_cookies()
    await _type_and_press(visitor)
    await visitor.page.wait_for_url("**/sign-in?*")


async def _type_and_press(visitor: Visitor) -> None:
    await visitor.page.get_by_label("Id", exact=True).fill("support-bot")
    await visitor.page.get_by_label("Name for people").fill("For the desk")
    await visitor.page.get_by_role("button", name="Create the service").click()


async def _sign_in_here(visitor: Visitor, token: str) -> None:
    await visitor.page.get_by_label("Access token").fill(token)
    await visitor.page.get_by_role("button", name="Sign in", exact=True).click()
