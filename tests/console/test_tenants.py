"""A tenant who tries each address of another one in the console: no byte of the other comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getsource
from types import ModuleType

import grpc
import httpx2
import pytest
from starlette.routing import Route

from tallygate.console.pages import PAGES
from tests.harness.console.addresses import KINDS, address, changes, parts, routes, words
from tests.harness.console.clerk import Clerk, clerk, everything
from tests.harness.console.shop import Shop
from tests.harness.tenants.marks import THEIRS, from_ghost, ghost_of
from tests.harness.tenants.onlooker import told_of
from tests.harness.tenants.tenant import Tenant
from tests.harness.tenants.town import Answer

READ = re.compile(r'visit\.query\("(\w+)"')
"""Words by which a page reads what its address says after the question mark."""


@dataclass(frozen=True)
class Stranger:
    """The owner of one account, signed in, who looks for another one."""

    clerk: Clerk
    csrf: str
    own: Tenant
    other: Tenant


@pytest.fixture(scope="module")
def stranger(shop: Shop, lived: Tenant) -> Iterator[Stranger]:
    other = Tenant(shop.town, THEIRS)
    for number, step in enumerate(other.steps):
        if step != other.delete_something:
            step(number)
    with clerk(shop.home) as there:
        there.sign_in(lived.owner)
        yield Stranger(there, there.csrf, lived, other)


@pytest.mark.parametrize("route", routes(), ids=lambda route: route.path)
def test_a_tenant_sees_its_own(stranger: Stranger, route: Route) -> None:
    """Each page of an account answers its owner, or else others could not be seen there anyway."""
    answer = stranger.clerk.get(address(route, words(stranger.own, stranger.own)))
    assert answer.status_code in ({200} if "account" in parts(route) else {200, 403, 404}), answer.text


@pytest.mark.parametrize("route", routes(), ids=lambda route: route.path)
def test_no_page_tells_of_another_tenant(stranger: Stranger, route: Route) -> None:
    """Neither of the other's account, nor of its things as if they were one's own, nor where a page filters by them."""
    for account in (stranger.other, stranger.own):
        path = address(route, words(account, stranger.other))
        look(stranger, path)
        look(stranger, f"/switch?account={stranger.other.account_id}")
        look(stranger, "/")
    path = address(route, words(stranger.own, stranger.own))
    for name in filters_of(route):
        kind = KINDS.get(name, "member")
        look(stranger, f"{path}?{name}={stranger.other.words[kind][-1]}")


@pytest.mark.parametrize("route", changes(), ids=lambda route: route.path)
def test_no_change_reaches_another_tenant(stranger: Stranger, route: Route) -> None:
    """What is sent about the other's is refused in words that are true of what nobody has."""
    for account in (stranger.other, stranger.own):
        named = words(account, stranger.other)
        path = address(route, named)
        if account is stranger.own and stranger.other.account_id not in path and parts(route) in ([], ["account"]):
            continue
        stranger.clerk.get(f"/switch?account={stranger.own.account_id}")
        fields = {"idempotency_key": "same", "team": named["team"], "service": named["service"]}
        answer = stranger.clerk.post(path, stranger.csrf, **fields)
        assert answer.status_code >= 400 or route.path.endswith("/trial"), (path, answer.text)
        told_nothing(stranger, answer, path + str(fields))


def filters_of(route: Route) -> list[str]:
    """Names that the pages of a module read from their addresses, for a stranger to say others' words."""
    (source,) = [getsource(page) for page in PAGES if isinstance(page, ModuleType) and route in page.ROUTES]
    return sorted(set(READ.findall(source)))


def look(stranger: Stranger, path: str) -> None:
    """At an address with the other's words in it: it answers as to words that nobody ever had."""
    answer = stranger.clerk.get(path)
    told_nothing(stranger, answer, path)
    of_ghost = ghost_of(path.encode()).decode()
    if of_ghost == path:
        return
    ghost = stranger.clerk.get(of_ghost)
    assert answer.status_code == ghost.status_code, f"{path} tells whether it is there: {answer.text} {ghost.text}"
    assert from_ghost(ghost.headers.get("location", "").encode()) == answer.headers.get("location", "").encode()


def told_nothing(stranger: Stranger, answer: httpx2.Response, sent: str) -> None:
    assert answer.status_code < 500, (sent, answer.text)
    told = Answer(grpc.StatusCode.OK, b"", everything(answer))
    assert not told_of(stranger.other, sent.encode(), told), (sent, answer.text)
