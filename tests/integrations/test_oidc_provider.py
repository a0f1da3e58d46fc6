"""Sign-ins at a real provider: the command's flow through its pages, and control's check of what comes out."""

import base64
import hashlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from control_service.domain.sign_in import IdTokenRefusedError, IssuerUnavailableError, Refusal
from control_service.oidc.fetch import HttpFetch
from control_service.oidc.issuer import Issuer
from control_service.oidc.key_cache import FETCH_INTERVAL_S
from control_service.oidc.verifier import OidcVerifier
from tallygate._access.scope import PLATFORM, Scope
from tallygate._server.clock import US_PER_SECOND, ManualClock
from tallygate._sign_in_flow import SignInError
from tallygate.cli.oidc_login import sign_in
from tallygate.control.v1.token_service_pb2 import SignInIssuer
from tests.harness.oidc_provider import Browser, OidcProvider, running_provider
from tests.harness.patience import PATIENCE_S

CLIENT = "tallygate"

# The provider uses what its own libraries warn of.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    """A provider with one user in two groups."""
    with running_provider() as provider:
        provider.add_user("ada", name="Ada L.", email="ada@example.com", groups=["ops", "finance"])
        yield provider


@pytest.fixture
def clock() -> ManualClock:
    """A clock that tells the time, and stands still from then on."""
    return ManualClock(time.time_ns() // 1_000)


def verifier(clock: ManualClock, *providers: OidcProvider) -> OidcVerifier:
    return OidcVerifier(
        [Issuer(each.url, CLIENT, PLATFORM) for each in providers], HttpFetch(timeout_s=PATIENCE_S), clock
    )


def option(provider: OidcProvider, client_id: str = CLIENT) -> SignInIssuer:
    return SignInIssuer(
        issuer=provider.url,
        client_id=client_id,
        authorization_endpoint=f"{provider.url}/oauth2/authorize",
        token_endpoint=f"{provider.url}/oauth2/token",
        scopes=["openid", "profile", "email"],
    )


def id_token(provider: OidcProvider, subject: str = "ada", client_id: str = CLIENT) -> str:
    """What the command gets when somebody signs in."""
    browser = Browser(subject)
    try:
        return sign_in(option(provider, client_id), browser.open)
    finally:
        browser.close()


async def test_a_person_signs_in(provider: OidcProvider, clock: ManualClock) -> None:
    """From control's options through the provider's pages to who it was."""
    control = verifier(clock, provider)
    (found,) = await control.sign_in_options()
    assert (found.issuer, found.client_id) == (provider.url, CLIENT)
    assert found.authorization_endpoint == option(provider).authorization_endpoint
    assert found.token_endpoint == option(provider).token_endpoint
    person = await control.verify(id_token(provider))
    assert (person.issuer, person.subject, person.groups) == (provider.url, "ada", ("ops", "finance"))
    assert (person.display_name, person.email, person.scope) == ("Ada L.", "ada@example.com", PLATFORM)
    assert person.expires_us > clock.now_us()


def test_the_page_says_that_it_is_done(provider: OidcProvider) -> None:
    """The person does not wonder whether to wait."""
    browser = Browser("ada")
    sign_in(option(provider), browser.open)
    browser.close()
    assert "You can close this window" in browser.pages[0]


def test_whoever_sees_the_code_cannot_use_it(provider: OidcProvider) -> None:
    """The page was told the hash of what only the command knows, and nothing twice."""
    id_token(provider)
    id_token(provider)
    asked = [form for path, form in provider.requests if path == "/oauth2/authorize" and "sub" not in form]
    redeemed = [form for path, form in provider.requests if path == "/oauth2/token"]
    assert [form["code_challenge_method"] for form in asked] == ["S256", "S256"]
    for challenge, proof in zip(asked, redeemed, strict=True):
        digest = hashlib.sha256(proof["code_verifier"].encode()).digest()
        assert challenge["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        assert len(proof["code_verifier"]) >= 43
        assert challenge["redirect_uri"] == proof["redirect_uri"]
        assert "client_secret" not in proof
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name]


def test_a_person_who_says_no(provider: OidcProvider) -> None:
    """Is told so by the command as well, in the provider's words or in its code."""
    for words, told in (("error=access_denied", "access_denied"), ("error=e&error_description=Not+you", "Not you")):

        def open_browser(url: str, words: str = words) -> None:
            query = dict(parse_qsl(urlsplit(url).query))
            assert (
                httpx2.get(f"{query['redirect_uri']}?state={query['state']}&{words}", timeout=PATIENCE_S).status_code
                == 200
            )

        with pytest.raises(SignInError, match=f"refused the sign-in: {told}"):
            sign_in(option(provider), open_browser)


def test_nobody_signs_in(provider: OidcProvider) -> None:
    """The command does not wait for ever."""
    with pytest.raises(SignInError, match="Nobody signed in within 0 s"):
        sign_in(option(provider), lambda _: None, timeout_s=0)


def test_answers_without_the_state_count_as_none(provider: OidcProvider) -> None:
    """Another page cannot have the command take a code of its own."""
    statuses: list[int] = []

    def open_browser(url: str) -> None:
        query = dict(parse_qsl(urlsplit(url).query))
        callback = query["redirect_uri"]
        twice = f"?code=stolen&state={query['state']}&state=b"
        wrong = [f"{callback}{query}" for query in ("", "?code=stolen", "?code=stolen&state=wrong", twice)]
        statuses.extend(
            httpx2.get(each, timeout=PATIENCE_S).status_code for each in (*wrong, callback.removesuffix("callback"))
        )
        browser.open(url)

    browser = Browser("ada")
    assert sign_in(option(provider), open_browser)
    browser.close()
    assert statuses == [400, 400, 400, 400, 404]
    assert [form["code"] for path, form in provider.requests if path == "/oauth2/token"] != ["stolen"]


def test_a_token_of_another_sign_in_is_refused(provider: OidcProvider) -> None:
    """The nonce tells."""
    browser = Browser("ada")

    def open_browser(url: str) -> None:
        browser.open(url.replace("nonce=", "nonce=another"))

    with pytest.raises(SignInError, match="belongs to another sign-in"):
        sign_in(option(provider), open_browser)
    browser.close()


def test_an_answer_of_another_issuer_is_refused(provider: OidcProvider) -> None:
    """Where the answer says whose it is."""

    def open_browser(url: str) -> None:
        query = dict(parse_qsl(urlsplit(url).query))
        httpx2.get(
            f"{query['redirect_uri']}?code=c&state={query['state']}&iss=https://evil.example.com", timeout=PATIENCE_S
        )

    with pytest.raises(SignInError, match="another issuer"):
        sign_in(option(provider), open_browser)


def test_the_port_can_be_chosen(provider: OidcProvider) -> None:
    """For issuers that have to be told the whole address; one that is taken is said."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SignInError, match=f"port {port}"):
            sign_in(option(provider), lambda _: pytest.fail("a browser was opened"), callback_port=port)
    browser = Browser("ada")
    assert sign_in(option(provider), browser.open, callback_port=port)
    browser.close()
    asked = [form["redirect_uri"] for path, form in provider.requests if path == "/oauth2/token"]
    assert asked == [f"http://127.0.0.1:{port}/callback"]


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint"])
def test_nothing_is_sent_in_plain_text(provider: OidcProvider, name: str) -> None:
    """Neither the person nor the code, but to this machine."""
    unsafe = option(provider)
    setattr(unsafe, name, "http://login.example.com/")
    with pytest.raises(SignInError, match="must begin with https://"):
        sign_in(unsafe, lambda _: pytest.fail("a browser was opened"))


def test_a_provider_that_is_gone_when_the_code_comes(provider: OidcProvider) -> None:
    """One sentence says so."""

    def open_browser(url: str) -> None:
        query = dict(parse_qsl(urlsplit(url).query))
        provider.stop()
        httpx2.get(f"{query['redirect_uri']}?code=c&state={query['state']}", timeout=PATIENCE_S)

    with pytest.raises(SignInError, match="did not answer to the code"):
        sign_in(option(provider), open_browser)


def test_a_code_that_the_provider_does_not_know(provider: OidcProvider) -> None:
    """Its own word is passed on."""

    def open_browser(url: str) -> None:
        query = dict(parse_qsl(urlsplit(url).query))
        httpx2.get(f"{query['redirect_uri']}?code=made-up&state={query['state']}", timeout=PATIENCE_S)

    with pytest.raises(SignInError, match="refused the sign-in"):
        sign_in(option(provider), open_browser)


async def test_a_provider_changes_its_key(provider: OidcProvider, clock: ManualClock) -> None:
    """While control runs; tokens by the new key are accepted once the provider may be asked again."""
    control = verifier(clock, provider)
    await control.verify(id_token(provider))
    provider.rotate_key()
    new = id_token(provider)
    with pytest.raises(IssuerUnavailableError):
        await control.verify(new)
    clock.advance(FETCH_INTERVAL_S)
    assert (await control.verify(new)).subject == "ada"


async def test_a_provider_goes_down_and_comes_back(provider: OidcProvider, clock: ManualClock) -> None:
    """What control knows already is enough for tokens that people hold; a fresh control cannot tell until then."""
    control, fresh = verifier(clock, provider), verifier(clock, provider)
    held = id_token(provider)
    await control.verify(held)
    provider.stop()
    assert (await control.verify(held)).subject == "ada"
    with pytest.raises(IssuerUnavailableError):
        await fresh.verify(held)
    provider.start()
    clock.advance(FETCH_INTERVAL_S)
    assert (await fresh.verify(held)).subject == "ada"


async def test_a_token_for_another_client_is_refused(provider: OidcProvider, clock: ManualClock) -> None:
    """Though the same provider made it for the same person."""
    with pytest.raises(IdTokenRefusedError) as caught:
        await verifier(clock, provider).verify(id_token(provider, client_id="another"))
    assert caught.value.refusal is Refusal.AUDIENCE


async def test_a_token_expires(provider: OidcProvider, clock: ManualClock) -> None:
    """An hour after it was made, and a minute of leeway."""
    control, token = verifier(clock, provider), id_token(provider)
    expires_us = (await control.verify(token)).expires_us
    clock.jump(us=expires_us + 59 * US_PER_SECOND - clock.now_us())
    assert (await control.verify(token)).subject == "ada"
    clock.jump(us=US_PER_SECOND)
    with pytest.raises(IdTokenRefusedError) as caught:
        await control.verify(token)
    assert caught.value.refusal is Refusal.EXPIRED


async def test_one_provider_is_not_another(provider: OidcProvider, clock: ManualClock) -> None:
    """Persons and groups of the same names are those of the provider that states them, with its scope."""
    with running_provider() as other:
        other.add_user("ada", groups=["ops"])
        issuers = [Issuer(provider.url, CLIENT, PLATFORM), Issuer(other.url, CLIENT, Scope("acme"))]
        control = OidcVerifier(issuers, HttpFetch(timeout_s=PATIENCE_S), clock)
        first, second = [await control.verify(id_token(each)) for each in (provider, other)]
        assert (first.issuer, first.scope) == (provider.url, PLATFORM)
        assert (second.issuer, second.scope) == (other.url, Scope("acme"))
        with pytest.raises(IdTokenRefusedError) as caught:
            await verifier(clock, provider).verify(id_token(other))
        assert caught.value.refusal is Refusal.ISSUER
