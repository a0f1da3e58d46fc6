"""The console in front of a running pair, and a browser to look at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.harness.console.chromium import NONE_THERE, chromium, running_chromium
from tests.harness.console.shop import Shop, open_for_business
from tests.harness.console.visitor import Visitor, visiting
from tests.harness.tenants.marks import OWN
from tests.harness.tenants.tenant import Tenant


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One for all tests of a process; each has an account of its own in it."""
    with open_for_business(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="session")
def lived(shop: Shop) -> Tenant:
    """A tenant that has done all there is to do, so that no page is empty."""
    tenant = Tenant(shop.town, OWN)
    for number, step in enumerate(tenant.steps):
        if step != tenant.delete_something:
            step(number)
    tenant.finish_all()
    return tenant


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests of a process."""
    path = chromium()
    if path is None:
        pytest.skip(NONE_THERE)
    async with running_chromium(path) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Browser, shop: Shop) -> AsyncIterator[Visitor]:
    """Somebody with a fresh browser. The test fails where the browser complains of anything."""
    async with visiting(browser, shop.home) as visitor:
        yield visitor


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def inspector(browser: Browser, shop: Shop) -> AsyncIterator[Visitor]:
    """The operator at one browser, going from page to page as people do: a fresh one takes as long as a page."""
    async with visiting(browser, shop.home) as visitor:
        await visitor.be(shop.town.operator)
        yield visitor
