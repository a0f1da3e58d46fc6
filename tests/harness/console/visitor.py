"""A person at a browser of their own, and whatever goes wrong in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response

from tests.harness.console.clerk import clerk
from tests.harness.patience import PATIENCE_S

PATIENCE_MS: Final = PATIENCE_S * 1_000
LOADED_WITH_ERROR: Final = "Failed to load resource: the server responded with a status of"
"""Beginning of what Chromium writes of each answer of 400 and above, whatever page comes with it."""


@dataclass(eq=False)
class Visitor:
    """A fresh browser context with one page. `home`: the console's address; `friends`: other origins that may be asked.

    `refused`: addresses of pages that were answered with a refusal.
    """

    context: BrowserContext
    page: Page
    home: str
    friends: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note whatever happens from now on."""
        self.context.on("console", self._hear)
        self.context.on("weberror", lambda error: self.faults.append(f"a script failed: {error.error}"))
        self.context.on("request", self._note_request)
        self.context.on("response", self._note_response)

    async def go(self, path: str) -> int:
        """To a page of the console; the status of the answer."""
        answer = await self.page.goto(self.home + path)
        assert answer is not None
        return answer.status

    async def sign_in(self, token: str, path: str = "/") -> None:
        """By an access token, on the way to a page."""
        await self.go(path)
        await self.page.get_by_label("Access token").fill(token)
        await self.page.get_by_role("button", name="Sign in", exact=True).click()
        await self.page.wait_for_url(lambda url: not urlsplit(url).path.startswith("/sign-in"))

    async def be(self, token: str) -> None:
        """Signed in by an access token, without the page for it."""
        with clerk(self.home) as there:
            there.sign_in(token)
            cookies: list[Any] = [
                {"name": one.name, "value": one.value, "url": self.home} for one in there.client.cookies.jar
            ]
        await self.context.add_cookies(cookies)

    def problems(self) -> list[str]:
        """All that went wrong: what the browser complains of, but for pages that were answered with a refusal."""
        heard = [text for text, url in self.said if not (text.startswith(LOADED_WITH_ERROR) and url in self.refused)]
        return [*self.faults, *heard]

    def forget(self) -> None:
        """Notes of what happened so far."""
        for notes in (self.refused, self.requests, self.said, self.faults):
            notes.clear()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not self._is_of_friends(message.page):
            self.said.append((message.text, message.location["url"]))

    def _note_request(self, request: Request) -> None:
        self.requests.append(request.url)
        parts = urlsplit(request.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        is_known = parts.scheme in ("data", "blob") or origin in {self.home, *self.friends}
        if not is_known and not self._is_of_friends(request.frame.page):
            self.faults.append(f"another host was asked: {request.url}")

    def _is_of_friends(self, page: Page | None) -> bool:
        """Whether the browser is at a page that is not the console's own: what that one does is its own affair."""
        return page is not None and page.url.startswith(tuple(self.friends))

    def _note_response(self, response: Response) -> None:
        is_refusal = response.request.is_navigation_request() and response.status >= HTTPStatus.BAD_REQUEST
        if is_refusal:
            self.refused.add(response.url)
        if response.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.faults.append(f"an answer of {response.status}: {response.url}")


@asynccontextmanager
async def visiting(browser: Browser, home: str, friends: Sequence[str] = (), **options: Any) -> AsyncIterator[Visitor]:
    """Somebody who comes with nothing, and leaves nothing. Fails where the browser complains of anything."""
    context = await browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    try:
        visitor = Visitor(context, await context.new_page(), home, set(friends))
        visitor.watch()
        yield visitor
        assert visitor.problems() == [], visitor.problems()
    finally:
        await context.close()
