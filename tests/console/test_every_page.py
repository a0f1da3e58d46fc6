"""What holds of each page in a browser: anybody can use it, on any screen, in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import pytest
from starlette.routing import Route

from tests.harness.console.addresses import address, pages, takes_changes, words
from tests.harness.console.axe import OF_LOOKS, found_by_axe
from tests.harness.console.visitor import Visitor
from tests.harness.tenants.tenant import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")

Looks = Sequence[tuple[Literal["light", "dark"], int]]
LOOKS: Final[Looks] = [("light", 1_600), ("dark", 360)]
"""Ways to look at a page: the colours, and the width in CSS pixels."""
WIDER_PX = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
UNLOCAL = """() => [...document.querySelectorAll('time')]
    .filter(one => !one.dataset.local || !one.title.endsWith('UTC')).length"""

HIDDEN_ENTRY = """() => [...document.querySelectorAll('nav.side [aria-current]')].filter(one => {
    const place = one.getBoundingClientRect();
    return place.left < 0 || place.right > document.documentElement.clientWidth;
}).length"""


async def look_at(visitor: Visitor, path: str, status: int = 200, looks: Looks = LOOKS) -> None:
    """At a page, as everybody who may come: by all rules, and for another look by those that depend on it."""
    await visitor.page.set_viewport_size({"width": looks[-1][1], "height": 900})
    assert await visitor.go(path) == status
    assert await visitor.page.evaluate(HIDDEN_ENTRY) == 0, f"the navigation hides where {path} is"
    rules: Sequence[str] = ()
    for scheme, width in looks:
        await visitor.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await visitor.page.set_viewport_size({"width": width, "height": 900})
        assert await visitor.page.evaluate(WIDER_PX) == 0, f"{path} scrolls sideways at {width} px"
        assert await found_by_axe(visitor.page, *rules) == [], f"{path} in {scheme} at {width} px"
        rules = OF_LOOKS
    assert await visitor.page.evaluate(UNLOCAL) == 0
    assert await visitor.page.title()
    assert await visitor.page.locator("h1").count() == 1
    assert visitor.problems() == [], visitor.problems()


@pytest.mark.parametrize("route", pages(), ids=lambda route: route.path)
async def test_anybody_can_use_each_page(inspector: Visitor, lived: Tenant, route: Route) -> None:
    """Axe finds nothing serious, nothing is cut off at 360 px, times are local, the browser complains of nothing."""
    inspector.forget()
    # Forms are alike, and many: they are looked at where they are likeliest to go wrong.
    looks = LOOKS[1:] if takes_changes(route) else LOOKS
    await look_at(inspector, address(route, words(lived, lived)), looks=looks)


@pytest.mark.parametrize(("path", "status"), [("/sign-in", 200), ("/no-such-page", 404)])
async def test_anybody_can_use_the_pages_around(visitor: Visitor, path: str, status: int) -> None:
    """The same of those that are seen without a session."""
    await look_at(visitor, path, status)
