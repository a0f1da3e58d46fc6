"""Lists of services: computed defaults and stored services in one order."""

import random

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.errors import ResourceNotFoundError
from control_service.domain.status import Status
from control_service.usecases.people.model_offers import with_offers
from control_service.usecases.people.service_list import ServiceQuery, list_services
from control_service.usecases.people.services import delete_service
from control_service.usecases.ports import ServiceFilter
from tests.harness.control.people_harness import Desk
from tests.harness.control.query_plans import recorded

MONEY_NANOS = 10**6
CUSTOM = ("a", "chat", "d", "default", "defaultx", "defaults", "e0", "zz")
MODELS = ("0x", "a", "a.b", "a-b", "llama", "z_z")


@pytest.fixture
async def full(desk: Desk) -> Desk:
    """A desk with six models and eight custom services, one of them deleted, and two defaults acted on."""
    for model_id in MODELS:
        if model_id != "llama":
            await desk.create_model(model_id)
    await desk.create_team("blue")
    for service_id in CUSTOM:
        await desk.create(service_id, team="blue" if service_id < "d" else "")
    await desk.change(delete_service, "e0")
    await desk.claim("default-llama")
    await desk.suspend("default-a.b")
    return desk


async def listed(desk: Desk, wanted: ServiceFilter, status: Status | None = None, limit: int = 100) -> list[str]:
    found, after = [], (wanted.account_id or "", "")
    while True:
        async with desk.database.reading() as tx:
            page = await list_services(tx, ServiceQuery(wanted, status, after, limit), desk.now_us)
        assert len(page.services) <= limit
        found += [view.service.service_id for view in page.services]
        if page.next_after is None:
            return found
        after = page.next_after


async def test_defaults_and_custom_services_in_order_of_names(full: Desk) -> None:
    """Every account has a default service for every model, stored or not, between its custom ones."""
    expected = sorted([*(f"default-{model}" for model in MODELS), *(name for name in CUSTOM if name != "e0")])
    assert await listed(full, ServiceFilter("acme")) == expected
    assert await listed(full, ServiceFilter("acme", show_deleted=True)) == sorted([*expected, "e0"])


async def test_pages_of_any_length_make_the_same_list(full: Desk) -> None:
    """No service is left out or shown twice at the edge of a page, whatever is filtered."""
    filters = [
        (ServiceFilter("acme"), None),
        (ServiceFilter("acme", model_id="llama"), None),
        (ServiceFilter("acme", model_id="a.b"), None),
        (ServiceFilter("acme", team="blue"), None),
        (ServiceFilter("acme"), Status.NOT_ENABLED),
        (ServiceFilter("acme"), Status.ACTIVATING),
        (ServiceFilter(), None),
    ]
    for wanted, status in filters:
        whole = await listed(full, wanted, status)
        for limit in random.Random(1).sample(range(1, 15), 4):
            assert await listed(full, wanted, status, limit) == whole
    assert await listed(full, ServiceFilter("acme", team="blue")) == ["a", "chat"]
    assert await listed(full, ServiceFilter("acme", model_id="a.b")) == ["default-a.b"]
    assert await listed(full, ServiceFilter("acme"), Status.ACTIVATING) == ["default-llama"]


async def test_without_an_account_only_stored_services_are_listed(full: Desk) -> None:
    """A million accounts times 200 models is no list; those of all accounts that were acted on are."""
    await full.create_account("bolt")
    stored = await listed(full, ServiceFilter())
    assert stored == sorted([*(name for name in CUSTOM if name != "e0"), "default-a.b", "default-llama"])


async def test_a_list_writes_nothing(full: Desk) -> None:
    """Listing computes defaults and forgets them again."""
    await listed(full, ServiceFilter("acme"))
    async with full.database.reading() as tx:
        assert await tx.services.find("acme", "default-0x") is None


async def test_the_account_must_be_there(full: Desk) -> None:
    """An unknown account has no empty list of services."""
    with pytest.raises(ResourceNotFoundError):
        await listed(full, ServiceFilter("nobody"))


@pytest.mark.parametrize("wanted", [ServiceFilter("acme", model_id="nope"), ServiceFilter("acme", team="nope")])
async def test_what_a_list_is_narrowed_to_must_be_there(full: Desk, wanted: ServiceFilter) -> None:
    """A mistyped model or team is said, rather than an empty list."""
    with pytest.raises(ResourceNotFoundError, match="nope"):
        await listed(full, wanted)


async def test_a_rare_status_is_found_without_reading_the_others(desk: Desk, engine: AsyncEngine) -> None:
    """However many there are: one statement gives the page, and none of them is lost or shown twice."""
    for number in range(30):
        await desk.create(f"s{number:02}")
    for service_id in ("s03", "s17", "s29"):
        await desk.suspend(service_id)
    await desk.claim("default-llama")
    for wanted in (ServiceFilter("acme"), ServiceFilter(), ServiceFilter("acme", model_id="llama")):
        with recorded(engine) as statements:
            async with desk.database.reading() as tx:
                page = await list_services(tx, ServiceQuery(wanted, Status.ACTIVATING, ("acme", ""), 2), desk.now_us)
        assert [view.service.service_id for view in page.services] == ["default-llama"]
        assert sum("FROM services" in text for text, _ in statements) == 1
    assert "default-llama" not in await listed(desk, ServiceFilter("acme"), Status.NOT_ENABLED, 7)
    assert len(await listed(desk, ServiceFilter("acme"), Status.NOT_ENABLED, 7)) == 30


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_started_defaults_end_no_list_of_those_that_are_not(desk: Desk, limit: int) -> None:
    """A page is filled from behind them."""
    names = [f"m{number}" for number in range(7)]
    for name in names:
        await desk.create_model(name)
    for started in ("default-llama", "default-m0", "default-m2", "default-m3"):
        await desk.claim(started)
    not_enabled = await listed(desk, ServiceFilter("acme"), Status.NOT_ENABLED, limit)
    assert not_enabled == ["default-m1", "default-m4", "default-m5", "default-m6"]


async def test_a_page_is_read_at_once_however_many_services_it_has(desk: Desk, engine: AsyncEngine) -> None:
    """Accounts, reservations, models, prices and trials, a statement each; and each service has those that are its."""
    await desk.publish_price()
    await desk.pay(MONEY_NANOS)

    async def read() -> tuple[int, list[tuple[str, str, bool, bool]]]:
        query = ServiceQuery(ServiceFilter(), None, ("", ""), 100)
        with recorded(engine) as statements:
            async with desk.database.reading() as tx:
                offered = await with_offers(tx, (await list_services(tx, query, desk.now_us)).services, desk.now_us)
        views = [(one.view, one.offer.trial_claimable) for one in offered]
        return len(statements), [
            (view.account.account_id, view.service.service_id, view.reserved.active, claimable)
            for view, claimable in views
        ]

    await desk.create()
    await desk.enable()
    await desk.buy()
    of_one, found = await read()
    assert found == [("acme", "chat", True, True)]
    await desk.create("other")
    await desk.claim("other")
    for account_id in ("beta", "gamma"):
        await desk.create_account(account_id)
        await desk.create(account_id=account_id)
    of_all, found = await read()
    assert found == [
        ("acme", "chat", True, False),
        ("acme", "other", False, False),
        ("beta", "chat", False, True),
        ("gamma", "chat", False, True),
    ]
    assert of_all == of_one
