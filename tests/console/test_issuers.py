"""Signing in with an issuer: from a page of the console by the provider's own pages, and back to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from playwright.async_api import Browser

from tallygate.access.v1 import role_pb2
from tallygate.cli.bootstrap import OPERATOR_FILE
from tallygate.control.v1 import access_service_pb2 as access
from tallygate.control.v1 import account_service_pb2 as accounts
from tests.harness.console.shop import running_console
from tests.harness.console.visitor import visiting
from tests.harness.oidc_provider import OidcProvider, running_provider
from tests.harness.programs.command import up
from tests.harness.tenants.town import Town

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # The provider uses what its own libraries warn of.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

ACCOUNT = "accounts/acme"


@dataclass(frozen=True)
class Known:
    """A console at which people of a provider sign in."""

    home: str
    provider: OidcProvider
    town: Town


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    directory: Path = tmp_path_factory.mktemp("issuers")
    with ExitStack() as stack:
        provider = stack.enter_context(running_provider())
        provider.add_user("ada", name="Ada L.")
        config = directory / "oidc.toml"
        config.write_text(f'[[issuer]]\nurl = "{provider.url}"\naudience = "tallygate"\nscope = "platform"\n')
        pair = stack.enter_context(up(directory, "--auth", variables={"TALLYGATE_OIDC_CONFIG": str(config)}))
        console = stack.enter_context(running_console(directory, pair.control, pair.metering))
        control = stack.enter_context(grpc.insecure_channel(pair.control))
        town = Town(control, control, (directory / OPERATOR_FILE).read_text().strip())
        town.do(accounts.CreateAccountRequest(name=ACCOUNT))
        member = f"person:{provider.url}#ada"
        town.do(access.CreateBindingRequest(scope=ACCOUNT, member=member, role=role_pb2.ROLE_VIEWER))
        yield Known(console.address, provider, town)


async def test_a_person_signs_in_with_an_issuer(known: Known, browser: Browser) -> None:
    """Back to the page that was asked for, as whoever the provider says; no code is left in the address."""
    path = f"/{ACCOUNT}/services?status=RUNNING"
    async with visiting(browser, known.home, [known.provider.url]) as visitor:
        await visitor.go(path)
        await visitor.page.get_by_role("link", name=f"Sign in with {known.provider.url}").click()
        await visitor.page.locator("input[name=sub]").fill("ada")
        await visitor.page.locator("form button, form input[type=submit]").first.click()
        await visitor.page.wait_for_url(known.home + path)
        await visitor.page.get_by_text("Ada L.").first.wait_for()
        assert await visitor.page.get_by_role("link", name="Create a service").count() == 0


async def test_an_answer_of_nobodys_sign_in_is_refused(known: Known, browser: Browser) -> None:
    """Whoever is led to the end of a sign-in that this browser has not begun is not signed in."""
    async with visiting(browser, known.home, [known.provider.url]) as visitor:
        assert await visitor.go("/sign-in/callback?code=stolen&state=stolen") >= 400
        await visitor.go("/")
        assert visitor.page.url.startswith(f"{known.home}/sign-in")
