"""Everybody's console: each role sees the pages that its navigation leads to, and nothing of another tenant."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tallygate._access.role import Role
from tests.harness.console.console_harness import Browser, console_of
from tests.harness.wire.access_stage import BOUND, AccessStage, access_stage

NAV = re.compile(r'<nav class="side".*?</nav>', re.DOTALL)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[AccessStage, Any]]:
    """Two tenants, a caller of each role, and a console."""
    async with access_stage(tmp_path_factory.mktemp("roles")) as stage, console_of(stage.control.address) as app:
        yield stage, app


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("role", [*BOUND, None])
async def test_each_page_of_the_navigation_opens(stage: tuple[AccessStage, Any], role: Role | None) -> None:
    """Whoever has no role is told so; whoever has one in an account lands there."""
    access, app = stage
    browser = Browser(app)
    assert (await browser.sign_in(access.tokens[role])).status_code == 303
    home = await browser.get("/")
    while home.status_code == 303:
        home = await browser.get(home.headers["location"])
    assert home.status_code == 200, home.text
    found = NAV.search(home.text)
    assert found is not None
    pages = re.findall(r'href="([^"]+)"', found[0])
    assert bool(pages) == (role not in (None, Role.METER, Role.NODE, Role.PRICING)) or role is Role.PRICING
    for page in pages:
        answer = await browser.get(page)
        # No node runs here: a page of what was used says so, which it does to whoever may see it.
        of_nodes = answer.status_code == 503 and "The metering service does not answer." in answer.text
        assert answer.status_code == 200 or of_nodes, (page, answer.text)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_team_sees_its_own(stage: tuple[AccessStage, Any]) -> None:
    """Services of its team, and no word of others'; nothing that it may not press."""
    access, app = stage
    browser = Browser(app)
    await browser.sign_in(access.tokens[Role.TEAM_MEMBER])
    services = (await browser.get("/accounts/acme/services")).text
    assert "/accounts/acme/services/finder" in services
    assert "talker" not in services
    assert "loner" not in services
    assert "create-service" not in services
    assert '<details class="menu right"><summary>Actions' not in services
    page = await browser.get("/accounts/acme/services/finder")
    assert page.status_code == 200
    for path in ("/accounts/acme/services/talker", "/accounts/globex/services", "/accounts/globex/services/alien"):
        assert (await browser.get(path)).status_code in (403, 404)
