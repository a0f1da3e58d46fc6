"""What a person does a story with: a mouse, or nothing but the keys."""

from __future__ import annotations

from typing import Final, Protocol

from playwright.async_api import Locator, Page

TABS_MAX: Final = 150
"""Maximum number of stops on a page before what is looked for counts as out of reach."""
IS_FOCUSED: Final = "element => element === document.activeElement"
IS_SEEN_FOCUSED: Final = """element => {
    const style = getComputedStyle(element);
    return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
}"""


class Hands(Protocol):
    """Ways to use what is on a page."""

    async def press(self, target: Locator) -> None:
        """Press a button or follow a link."""

    async def fill(self, target: Locator, text: str) -> None:
        """Replace what a field has."""

    async def choose(self, target: Locator, option: str) -> None:
        """Choose what a list offers, by its words."""


class Mouse:
    """Pointer and clicks, and typing into what was clicked."""

    async def press(self, target: Locator) -> None:
        await target.click()

    async def fill(self, target: Locator, text: str) -> None:
        await target.click()
        await target.fill(text)

    async def choose(self, target: Locator, option: str) -> None:
        await target.select_option(label=option)


class Keys:
    """The keyboard alone: whatever is used is reached by Tab, and seen to have the focus."""

    def __init__(self, page: Page) -> None:
        self._keyboard = page.keyboard

    async def press(self, target: Locator) -> None:
        await self._reach(target)
        await self._keyboard.press("Enter")

    async def fill(self, target: Locator, text: str) -> None:
        await self._reach(target)
        await self._keyboard.press("Control+A")
        await self._keyboard.type(text)

    async def choose(self, target: Locator, option: str) -> None:
        await self._reach(target)
        await self._keyboard.type(option)

    async def _reach(self, target: Locator) -> None:
        await target.wait_for()
        for _ in range(TABS_MAX):
            if await target.evaluate(IS_FOCUSED):
                assert await target.evaluate(IS_SEEN_FOCUSED), f"nobody sees that {target} has the focus"
                return
            await self._keyboard.press("Tab")
        raise AssertionError(f"{target} is not reached by {TABS_MAX} tabs")
