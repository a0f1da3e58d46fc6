"""The browser that tests drive: Debian's Chromium from PATH, or one that a variable names."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from playwright.async_api import Browser, async_playwright

CHROMIUM_VARIABLE: Final = "TALLYGATE_TEST_CHROMIUM"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
NONE_THERE: Final = f"there is no Chromium: install Debian's package chromium, or name one by {CHROMIUM_VARIABLE}"
ON_THIS_MACHINE: Final = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
"""Option by which the browser itself reaches no other machine, whatever a page or an update of its own asks for."""


def chromium() -> str | None:
    """Path of the browser; None where there is none."""
    found = os.environ.get(CHROMIUM_VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)
    return found or None


@asynccontextmanager
async def running_chromium(path: str) -> AsyncIterator[Browser]:
    """A browser without a window, which is gone afterwards."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[ON_THIS_MACHINE])
        try:
            yield browser
        finally:
            await browser.close()
