"""Figures on pages of the running console are those of the API, to the token and the nano."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from tallygate.control.v1 import account_service_pb2 as accounts
from tallygate.control.v1 import lifecycle_service_pb2 as lifecycle
from tallygate.metering.v1 import usage_service_pb2 as usage
from tests.harness.console.clerk import clerk
from tests.harness.console.shop import CENT_NANOS, Shop
from tests.harness.console.traffic import use
from tests.harness.patience import until_found

pytestmark = pytest.mark.asyncio(loop_scope="session")

INPUT, OUTPUT, REQUESTS = 1_234, 56, 3
NANOS_A_TOKEN = 1_000
TOKENS = REQUESTS * (INPUT + OUTPUT)
COST_NANOS = TOKENS * NANOS_A_TOKEN
VALUE = re.compile(r'<data[^>]* value="(-?\d+)"')


async def test_what_was_used_is_on_the_pages(shop: Shop) -> None:
    """Tokens and cost on the usage page and in its file, and the balance on the money page, exactly."""
    customer = shop.new_customer()
    service = f"{customer.name}/services/default-llama"
    shop.town.do(lifecycle.EnablePostpaidRequest(name=service), customer.owner)
    ids = [await use(shop.town, customer.meter, service, input_tokens=INPUT, output_tokens=OUTPUT) for _ in range(3)]

    async def is_charged() -> bool:
        account = shop.town.do(accounts.GetAccountRequest(name=customer.name)).account
        return bool(account.balance_nanos == 1_000 * CENT_NANOS - COST_NANOS and not account.leased_nanos)

    await until_found(is_charged)
    query = usage.QueryUsageRequest(services=[customer.name])
    query.start_time.seconds = int(time.time()) // 86_400 * 86_400 - 86_400
    query.end_time.seconds = query.start_time.seconds + 3 * 86_400
    total = (await asyncio.to_thread(shop.town.do, query, customer.owner)).total
    with clerk(shop.home) as owner:
        owner.sign_in(customer.owner)
        pages = {name: owner.get(f"/{customer.name}/{name}") for name in ("usage", "usage.csv", "money")}
        receipt = owner.get(f"/{customer.name}/requests?request_id={ids[0]}").text
    values = {name: [int(value) for value in VALUE.findall(page.text)] for name, page in pages.items()}
    assert total.request_count == REQUESTS
    assert {TOKENS, COST_NANOS, total.cost_nanos} <= set(values["usage"])
    assert 1_000 * CENT_NANOS - COST_NANOS in values["money"]
    assert -COST_NANOS in values["money"]
    assert str(COST_NANOS) in pages["usage.csv"].text
    assert (INPUT + OUTPUT) * NANOS_A_TOKEN in [int(value) for value in VALUE.findall(receipt)]
