"""A person signs in to the console at a real provider's pages, and an attempt is good in one browser, once."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from control_service.bootstrap import Access
from control_service.oidc.issuer import Issuer
from control_service.usecases.resolve_credential import Credentials
from tallygate._access.scope import PLATFORM
from tallygate._access.token_text import read_token
from tallygate._server.clock import ManualClock, SystemClock
from tallygate.console.attempts import ATTEMPT_S
from tests.harness.console.console_harness import BASE, Browser, console_of, control_away, site_of
from tests.harness.control.access import SEAL
from tests.harness.oidc_provider import OidcProvider, running_provider
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.callers import OPERATOR_TOKEN
from tests.harness.wire.control_fleet import running_control

# The provider uses what its own libraries warn of.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with running_provider() as provider:
        provider.add_user("ada", name="Ada L.")
        yield provider


@pytest.fixture
async def app(provider: OidcProvider, tmp_path: Path) -> AsyncIterator[Any]:
    """A console whose control service believes the provider."""
    clock = ManualClock(SystemClock().now_us())
    issuer = Issuer(provider.url, "tallygate", PLATFORM)
    credentials = Credentials(SEAL, read_token(OPERATOR_TOKEN), issuer_scopes={issuer.url: issuer.scope})
    access = Access(credentials, asks_for_proof=True, issuers=(issuer,))
    async with running_control(tmp_path, access=access) as control, console_of(control.address, clock=clock) as app:
        yield app


async def begun(browser: Browser, provider: OidcProvider, back: str = "/sign-in") -> str:
    """The address of the issuer's page, by the link on the sign-in page."""
    page = await browser.get("/sign-in", params={"next": back})
    assert "Sign in with http://127.0.0.1" in page.text
    answer = await browser.get("/sign-in/oidc", params={"issuer": provider.url, "next": back})
    assert answer.status_code == 303
    return str(answer.headers["location"])


async def at_the_provider(page: str, subject: str = "ada") -> str:
    """Somebody signs in at the issuer's page; where the browser is sent then, without what stands before the path."""
    async with httpx2.AsyncClient(timeout=PATIENCE_S) as client:
        answer = await client.post(page, data={"sub": subject})
    back = answer.headers["location"]
    assert back.startswith(f"{BASE}/sign-in/callback?")
    return str(back.removeprefix(BASE))


async def test_a_person_signs_in_and_out(app: Any, provider: OidcProvider) -> None:
    """By code and PKCE, back to the page that was asked for; after the sign-out the token opens nothing."""
    browser = Browser(app)
    page = await begun(browser, provider, "/accounts/acme/models")
    asked = parse_qs(urlsplit(page).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [f"{BASE}/sign-in/callback"]
    done = await browser.get(await at_the_provider(page))
    assert (done.status_code, done.headers["location"]) == (303, "/accounts/acme/models")
    home = await browser.get("/")
    assert "Ada L." in home.text
    (session,) = site_of(app).sessions._by_id.values()
    await browser.send("/sign-out", home)
    other = Browser(app)
    assert (await other.sign_in(session.credential)).status_code == 401


async def test_an_answer_is_good_once(app: Any, provider: OidcProvider) -> None:
    """Whoever has seen the address gets nothing by it."""
    browser = Browser(app)
    callback = await at_the_provider(await begun(browser, provider))
    mark = {"cookie": f"tallygate-browser={browser.client.cookies['tallygate-browser']}"}
    assert (await browser.get(callback)).status_code == 303
    again = await Browser(app).get(callback, headers=mark)
    assert again.status_code == 400
    assert "not an answer to a sign-in" in again.text


async def test_an_answer_is_good_in_the_browser_that_asked(app: Any, provider: OidcProvider) -> None:
    """So that nobody signs somebody else in as themselves."""
    callback = await at_the_provider(await begun(Browser(app), provider))
    victim = Browser(app)
    await victim.get("/sign-in")
    assert (await victim.get(callback)).status_code == 400
    assert (await victim.get("/")).headers["location"].startswith("/sign-in")
    assert len(site_of(app).sessions) == 0


@pytest.mark.parametrize("state", ["", "made-up"])
async def test_an_answer_that_nobody_asked_for_is_none(app: Any, state: str) -> None:
    """The page says so, and leads to the sign-in."""
    answer = await Browser(app).get("/sign-in/callback", params={"code": "x", "state": state})
    assert answer.status_code == 400


async def test_an_attempt_ends(app: Any, provider: OidcProvider) -> None:
    """Nobody takes so long at a sign-in page."""
    browser = Browser(app)
    callback = await at_the_provider(await begun(browser, provider))
    clock = site_of(app).clock
    assert isinstance(clock, ManualClock)
    clock.advance(ATTEMPT_S)
    assert (await browser.get(callback)).status_code == 400


async def test_a_refusal_is_said(app: Any, provider: OidcProvider) -> None:
    """As text, whatever the address says."""
    browser = Browser(app)
    page = await begun(browser, provider)
    state = parse_qs(urlsplit(page).query)["state"][0]
    said = {"state": state, "error": "access_denied", "error_description": "<b>No</b>"}
    answer = await browser.get("/sign-in/callback", params=said)
    assert answer.status_code == 401
    assert "refused the sign-in: &lt;b&gt;No&lt;/b&gt;" in answer.text


async def test_another_issuer_is_no_way_in(app: Any) -> None:
    """Only those that the control service names."""
    answer = await Browser(app).get("/sign-in/oidc", params={"issuer": "https://evil.example"})
    assert answer.status_code == 400
    assert "location" not in answer.headers


async def test_a_token_of_another_sign_in_is_refused(app: Any, provider: OidcProvider) -> None:
    """Its nonce is another one."""
    browser = Browser(app)
    callback = await at_the_provider(await begun(browser, provider))
    attempts = site_of(app).attempts
    ((state, pending),) = attempts._by_state.items()
    attempts._by_state[state] = replace(pending, attempt=replace(pending.attempt, nonce="another"))
    answer = await browser.get(callback)
    assert answer.status_code == 401
    assert "belongs to another sign-in" in answer.text


async def test_a_sign_in_is_renewed_before_it_ends(app: Any, provider: OidcProvider) -> None:
    """A page leads to the issuer and comes back, but not one after a change, since Chromium follows no form there.

    A part has the page loaded as a whole.
    """
    browser = Browser(app)
    await browser.get(await at_the_provider(await begun(browser, provider)))
    (session,) = site_of(app).sessions._by_id.values()
    clock = site_of(app).clock
    assert isinstance(clock, ManualClock)
    life_s = (session.ends_ns - clock.monotonic_ns()) // 1_000_000_000
    clock.advance(max(0, life_s - 100))
    session.say("key", "It is done.")
    page = await browser.get("/accounts/acme/models?x=y")
    assert "location" not in page.headers
    assert "It is done." in page.text
    page = await browser.get("/accounts/acme/models?x=y")
    assert page.headers["location"].startswith("/sign-in/oidc?issuer=http")
    assert page.headers["location"].endswith("next=%2Faccounts%2Facme%2Fmodels%3Fx%3Dy")
    assert "location" not in (await browser.get("/accounts/acme/models?part=cards")).headers
    clock.advance(50)
    assert (await browser.get("/accounts/acme/models?part=cards")).status_code == 401


async def renewable(browser: Browser, provider: OidcProvider, app: Any) -> None:
    """Ada is signed in, and soon no more."""
    await browser.get(await at_the_provider(await begun(browser, provider)))
    (session,) = site_of(app).sessions._by_id.values()
    clock = site_of(app).clock
    assert isinstance(clock, ManualClock)
    clock.advance(max(0, (session.ends_ns - clock.monotonic_ns()) // 1_000_000_000 - 100))


async def test_a_form_that_is_open_outlives_a_renewal(app: Any, provider: OidcProvider) -> None:
    """In another tab, as far as it is the same person who signed in again; of somebody else it is none."""
    browser = Browser(app)
    await renewable(browser, provider, app)
    provider.add_user("bob")
    for subject, status in (("bob", 403), ("ada", 303)):
        tab = await browser.get("/sign-in/oidc", params={"issuer": provider.url})
        open_page = await browser.get(await at_the_provider(tab.headers["location"], "ada"), follow_redirects=True)
        again = await browser.get("/sign-in/oidc", params={"issuer": provider.url})
        await browser.get(await at_the_provider(again.headers["location"], subject))
        assert len(site_of(app).sessions) == 1
        assert (await browser.send("/sign-out", open_page)).status_code == status


async def test_nobody_is_led_to_a_sign_in_while_control_is_away(app: Any, provider: OidcProvider) -> None:
    """A renewal waits, and the page is shown as it was read; without a session the page for it is tried again."""
    browser, page = Browser(app), "/accounts/acme/models"
    await renewable(browser, provider, app)
    address = {"issuer": provider.url, "next": page}
    with control_away(app):
        led = await browser.get("/sign-in/oidc", params=address)
        assert (led.status_code, led.headers["location"]) == (303, page)
        answer = await browser.get(page)
        assert (answer.status_code, "location" in answer.headers) == (503, False)
        alone = await Browser(app).get("/sign-in/oidc", params=address)
        assert alone.status_code == 503
        assert "data-retry" in alone.text
        assert f'value="{page}"' in alone.text
    assert (await browser.get("/sign-in/oidc", params=address)).headers["location"].startswith(provider.url)


async def test_a_person_has_tokens_of_their_own(app: Any, provider: OidcProvider) -> None:
    """Made, rotated, disabled and deleted in pages; the secret is shown once, and signs in."""
    browser = Browser(app)
    await browser.get(await at_the_provider(await begun(browser, provider)))
    assert 'href="/my-tokens"' in (await browser.get("/my-tokens")).text
    made = await browser.submit("/my-tokens/create", display_name="For scripts", valid_for="36h")
    secret = re.search(r'<pre id="secret" tabindex="0">([^<]+)</pre>', made.text)
    assert secret is not None, made.text
    page = await browser.get("/my-tokens")
    assert secret[1] not in page.text
    assert page.text.count("given for a sign-in") == 1
    (token,) = re.findall(r'For scripts</th>.*?href="(/my-tokens/tokens/[^/]+)/rotate"', page.text, re.DOTALL)
    other = Browser(app)
    assert (await other.sign_in(secret[1])).status_code == 303
    assert '<pre id="secret"' in (await browser.submit(f"{token}/rotate", overlap="0")).text
    assert (await Browser(app).sign_in(secret[1])).status_code == 401
    for step in ("disable", "enable", "delete"):
        assert (await browser.submit(f"{token}/{step}")).headers["location"] == "/my-tokens"
    assert "For scripts" not in (await browser.get("/my-tokens")).text


async def test_a_program_has_no_tokens_of_its_own(app: Any) -> None:
    """The page says where its are."""
    browser = Browser(app)
    await browser.sign_in(OPERATOR_TOKEN)
    page = await browser.get("/my-tokens")
    assert (page.status_code, "Only people" in page.text) == (200, True)
    assert 'href="/my-tokens"' not in page.text
