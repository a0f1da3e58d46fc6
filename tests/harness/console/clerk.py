"""Somebody who speaks HTTP to the console without a browser, and sees every byte that comes back."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any, Final
from urllib.parse import urlencode

import httpx2

from tests.harness.patience import PATIENCE_S

CSRF: Final = re.compile(r'name="csrf" value="([^"]+)"')
FORM: Final = {"content-type": "application/x-www-form-urlencoded"}


class Clerk:
    """A client with cookies of its own."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client

    def sign_in(self, token: str) -> httpx2.Response:
        """By an access token; without one at a pair that asks for no proof. The answer leads on."""
        page = self.client.get("/sign-in")
        how = {"token": token} if token else {"how": "open"}
        return self.client.post("/sign-in", content=form(csrf=csrf_of(page), next="/", **how), headers=FORM)

    def get(self, path: str) -> httpx2.Response:
        """A page, or where it leads."""
        return self.client.get(path)

    def post(self, path: str, csrf: str, **fields: str) -> httpx2.Response:
        """A form, as a page of the console sends it."""
        return self.client.post(path, content=form(csrf=csrf, **fields), headers=FORM)

    @cached_property
    def csrf(self) -> str:
        """What forms of this session say: it stands on each page, beside the sign-out."""
        return csrf_of(self.client.get("/", follow_redirects=True))


def csrf_of(page: httpx2.Response) -> str:
    """What the forms on a page say."""
    found = CSRF.search(page.text)
    assert found is not None, page.text
    return found[1]


def form(**fields: str) -> str:
    """The body of a form."""
    return urlencode(fields)


def everything(answer: httpx2.Response) -> bytes:
    """All that came back."""
    headers = b"\n".join(b": ".join(header) for header in answer.headers.raw)
    return headers + b"\n\n" + answer.content


@contextmanager
def clerk(home: str, headers: Mapping[str, str] | None = None) -> Iterator[Clerk]:
    """Somebody who comes with nothing; redirects are not followed."""
    options: dict[str, Any] = {"timeout": PATIENCE_S, "verify": _tls(), "trust_env": False}
    with httpx2.Client(base_url=home, headers=headers, **options) as client:
        yield Clerk(client)


@cache
def _tls() -> ssl.SSLContext:
    """Made once: to read the machine's authorities takes longer than most pages."""
    return ssl.create_default_context()
