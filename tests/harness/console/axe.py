"""What axe finds on a page: the rules of accessibility that a program can judge."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from playwright.async_api import Page

OF_LOOKS: Final = ("color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size")
"""Rules that depend on colours and on where things stand; the others read what is the same in every look at a page."""
SERIOUS: Final = {"serious", "critical"}


@cache
def _source() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text()


async def found_by_axe(page: Page, *rules: str) -> list[str]:
    """What is serious of what it finds, by all of its rules or by these: rule, where, and what to do, one line each.

    Its source is evaluated by way of the debugger: the page's policy lets no script tag in, which is as it should be.
    """
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_source())
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found: Any = await page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{rule['id']} at {node['target']}: {node['failureSummary']}"
        for rule in found["violations"]
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]
