"""What axe finds on a page: the rules of accessibility that a program can judge."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from playwright.async_api import Page

SERIOUS: Final = {"serious", "critical"}


@cache
def _source() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text()


async def found_by_axe(page: Page) -> list[str]:
    """What is serious of what it finds: rule, where, and what to do, one line each.

    Its source is evaluated by way of the debugger: the page's policy lets no script tag in, which is as it should be.
    """
    await page.evaluate(_source())
    found: Any = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']} at {node['target']}: {node['failureSummary']}"
        for rule in found["violations"]
        if rule["impact"] in SERIOUS
        for node in rule["nodes"]
    ]
