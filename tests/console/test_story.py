"""The demo's story, done by a person at the console: once by mouse, once by the keyboard alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.async_api import Locator, Page

from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import catalog_service_pb2 as catalogue
from tallygate.control.v1 import model_pb2
from tests.harness.console.hands import Hands, Keys, Mouse
from tests.harness.console.shop import CENT_NANOS, Customer, Shop
from tests.harness.console.traffic import knock, use
from tests.harness.console.visitor import Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRIAL_TOKENS = 1_000
NANOS_A_TOKEN = CENT_NANOS
HANDS: dict[str, Callable[[Page], Hands]] = {"mouse": lambda _: Mouse(), "keys": Keys}


class Story:
    """Somebody's way through it, and what the pages say."""

    def __init__(self, shop: Shop, visitor: Visitor, hands: Hands, model_id: str, customer: Customer) -> None:
        self.shop, self.visitor, self.page, self.hands = shop, visitor, visitor.page, hands
        self.model_id, self.customer = model_id, customer
        self.service = f"{customer.name}/services/default-{model_id}"

    async def use(self, *, input_tokens: int, output_tokens: int = 0) -> None:
        told = self.shop.town, self.customer.meter, self.service
        await use(*told, input_tokens=input_tokens, output_tokens=output_tokens)

    async def knock(self, *, until: str) -> None:
        await knock(self.shop.town, self.customer.meter, self.service, until=until)

    async def press(self, target: Locator) -> None:
        await self.hands.press(target)

    async def confirm(self, label: str, says: str) -> None:
        """Press what asks before it does anything, and confirm what the dialog says."""
        await self.press(self.page.get_by_role("link", name=label, exact=True).first)
        dialog = self.page.get_by_role("dialog")
        await dialog.get_by_text(says).first.wait_for()
        await self.press(dialog.get_by_role("button").first)

    async def shows(self, *words: str) -> None:
        """The page says so, by itself: nobody loads it again."""
        for word in words:
            await self.page.locator("main").get_by_text(word).first.wait_for()

    async def sign_in(self) -> None:
        await self.visitor.go("/")
        await self.hands.fill(self.page.get_by_label("Access token"), self.customer.owner)
        await self.press(self.page.get_by_role("button", name="Sign in", exact=True))
        await self.shows("Model hub")

    async def claim_the_trial(self) -> None:
        card = self.page.get_by_role("listitem").filter(has=self.page.locator("code", has_text=self.model_id))
        await self.press(card.get_by_role("link", name="Free Trial"))
        dialog = self.page.get_by_role("dialog")
        await dialog.get_by_text(f"{TRIAL_TOKENS:,} tokens").wait_for()
        await self.press(dialog.get_by_role("button", name="Claim the free trial"))
        await self.shows("The free trial is claimed.", "Running")

    async def use_it_up(self) -> None:
        await self.use(input_tokens=TRIAL_TOKENS - 100, output_tokens=100)
        await self.knock(until="TRIAL_EXHAUSTED")
        await self.shows("Stopped", "Trial exhausted")

    async def enable_postpaid(self) -> None:
        await self.confirm("Enable pay-as-you-go", "10,000.00 USD")
        await self.shows("Pay-as-you-go is enabled.", "Running")

    async def be_overdue(self) -> None:
        await self.use(input_tokens=194)
        await self.knock(until="ACCOUNT_OVERDUE")
        await self.shows("Stopped", "Account overdue")

    async def create_a_service(self) -> None:
        await self.press(self.page.get_by_role("link", name="Online Inference").first)
        await self.press(self.page.get_by_role("link", name="Create a service"))
        await self.hands.fill(self.page.get_by_label("Id", exact=True), "prod")
        await self.hands.choose(self.page.get_by_label("Model", exact=True), self.model_id)
        await self.press(self.page.get_by_role("button", name="Create the service"))
        await self.shows("prod", "Not enabled")

    async def reserve(self) -> None:
        await self.press(self.page.get_by_role("link", name="Buy a reservation").first)
        dialog = self.page.get_by_role("dialog")
        await self.hands.fill(dialog.get_by_label("Input tokens a minute"), "6000")
        await self.hands.fill(dialog.get_by_label("Output tokens a minute"), "0")
        await self.hands.fill(dialog.get_by_label("Days"), "1")
        await self.press(dialog.get_by_role("button", name="Work out the price"))
        await self.shows("0.06 USD")
        await self.press(self.page.get_by_role("button", name="Buy it for"))
        await self.shows("Running", "Active", "6,000")


@pytest.mark.parametrize("by", HANDS)
async def test_the_story_from_trial_to_recovery(shop: Shop, visitor: Visitor, by: str) -> None:
    """Trial, exhausted, pay-as-you-go, a reservation at the price that was shown, overdue, and back after a top-up."""
    model_id = f"story-{by}"
    offer_model(shop, model_id)
    story = Story(shop, visitor, HANDS[by](visitor.page), model_id, shop.new_customer(cents=200))
    await story.sign_in()
    await story.claim_the_trial()
    await story.use_it_up()
    await story.enable_postpaid()
    await story.create_a_service()
    await story.reserve()
    await visitor.go(f"/{story.service}")
    await story.be_overdue()
    shop.town.do(accounts.TopUpAccountRequest(name=story.customer.name, amount_nanos=500 * CENT_NANOS))
    await story.shows("Running")


def offer_model(shop: Shop, model_id: str) -> None:
    name = f"models/{model_id}"
    daily = model_pb2.ReservationPrice(input_nanos_per_thousand_tpm_day=CENT_NANOS)
    trial = model_pb2.TrialOffer(quota_tokens=TRIAL_TOKENS)
    shop.town.do(catalogue.CreateModelRequest(name=name, trial_offer=trial, reservation_price=daily))
    price = NANOS_A_TOKEN * 1_000_000
    shop.town.do(
        catalogue.PublishPriceRequest(
            model=name, input_nanos_per_million_tokens=price, output_nanos_per_million_tokens=price
        )
    )
