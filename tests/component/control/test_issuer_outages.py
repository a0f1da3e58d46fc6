"""What is accepted while an issuer does not answer, and how often it is asked."""

import asyncio

import pytest

from control_service.domain.sign_in import IdTokenRefusedError, IssuerUnavailableError, Refusal
from control_service.oidc.key_cache import FETCH_INTERVAL_S, FRESH_S
from tests.harness.control.oidc_harness import FakeIssuer, public, rsa_key

FETCHES = 2
"""Number of documents of one fetch: where the keys are, and the keys."""


def rotate(issuer: FakeIssuer, *, keep_old: bool = False) -> str:
    """Give the issuer a new key; a token that is signed by it."""
    new = public(rsa_key(1), "second")
    issuer.keys = [*issuer.keys, new] if keep_old else [new]
    return issuer.token(rsa_key(1), {"kid": "second"})


async def test_keys_are_fetched_once(issuer: FakeIssuer) -> None:
    """When the first token comes; later ones need no issuer."""
    verifier = issuer.verifier()
    assert issuer.fetched == []
    for _ in range(3):
        await verifier.verify(issuer.token())
    assert len(issuer.fetched) == FETCHES


async def test_a_new_key_is_fetched_when_it_is_met(issuer: FakeIssuer) -> None:
    """Without a restart, and without the old one being forgotten."""
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    issuer.clock.advance(FETCH_INTERVAL_S)
    jwt = rotate(issuer, keep_old=True)
    assert (await verifier.verify(jwt)).subject == "ada"
    assert (await verifier.verify(issuer.token())).subject == "ada"
    assert len(issuer.fetched) == 2 * FETCHES


async def test_a_new_key_without_an_id_is_fetched_when_it_is_met(issuer: FakeIssuer) -> None:
    """The signature tells that the only key has changed."""
    issuer.keys = [public(rsa_key())]
    verifier = issuer.verifier()
    await verifier.verify(issuer.token(header={"kid": None}))
    issuer.clock.advance(FETCH_INTERVAL_S)
    issuer.keys = [public(rsa_key(1))]
    assert (await verifier.verify(issuer.token(rsa_key(1), {"kid": None}))).subject == "ada"


async def test_unknown_keys_do_not_make_an_issuer_be_asked_often(issuer: FakeIssuer) -> None:
    """In between nobody can tell, which is not the same as no; once it was asked, it is."""
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    forged = issuer.token(rsa_key(1), {"kid": "made up"})
    for _ in range(FETCH_INTERVAL_S):
        with pytest.raises(IssuerUnavailableError, match="nobody can tell"):
            await verifier.verify(forged)
        assert len(issuer.fetched) == FETCHES
        issuer.clock.advance(1)
    with pytest.raises(IdTokenRefusedError) as caught:
        await verifier.verify(forged)
    assert caught.value.refusal is Refusal.UNKNOWN_KEY
    assert len(issuer.fetched) == 2 * FETCHES


async def test_the_wait_is_told(issuer: FakeIssuer) -> None:
    """What is left of the interval, so that whoever tries again then is answered."""
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    issuer.clock.advance(3)
    jwt = rotate(issuer)
    with pytest.raises(IssuerUnavailableError, match="try again in 7 s") as caught:
        await verifier.verify(jwt)
    issuer.clock.advance(us=caught.value.retry_after_ms * 1_000)
    assert (await verifier.verify(jwt)).subject == "ada"


async def test_known_keys_outlive_their_issuer(issuer: FakeIssuer) -> None:
    """While it is down its tokens are accepted, but for those by keys that are not known."""
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    issuer.down = True
    issuer.clock.advance(FRESH_S * 10)
    assert (await verifier.verify(issuer.token())).subject == "ada"
    with pytest.raises(IssuerUnavailableError):
        await verifier.verify(rotate(issuer))
    issuer.down = False
    issuer.clock.advance(FETCH_INTERVAL_S)
    assert (await verifier.verify(rotate(issuer))).subject == "ada"


async def test_an_issuer_that_never_answered(issuer: FakeIssuer) -> None:
    """Nobody can tell, and the issuer is asked again after a while."""
    verifier = issuer.verifier()
    issuer.down = True
    for _ in range(2):
        with pytest.raises(IssuerUnavailableError, match="does not answer"):
            await verifier.verify(issuer.token())
        with pytest.raises(IssuerUnavailableError, match="does not answer"):
            await verifier.sign_in_options()
    assert len(issuer.fetched) == 1
    issuer.down = False
    issuer.clock.advance(FETCH_INTERVAL_S)
    assert (await verifier.verify(issuer.token())).subject == "ada"


async def test_a_withdrawn_key_is_forgotten(issuer: FakeIssuer) -> None:
    """After ten minutes at the latest, though tokens by it keep coming."""
    verifier = issuer.verifier()
    stolen = issuer.token(exp=issuer.claims()["exp"] + FRESH_S * 2)
    await verifier.verify(stolen)
    rotate(issuer)
    issuer.clock.advance(FRESH_S - 1)
    assert (await verifier.verify(stolen)).subject == "ada"
    issuer.clock.advance(1)
    with pytest.raises(IdTokenRefusedError) as caught:
        await verifier.verify(stolen)
    assert caught.value.refusal is Refusal.UNKNOWN_KEY


async def test_many_callers_wait_for_one_fetch(issuer: FakeIssuer) -> None:
    """Whether they need the first keys or new ones; nobody's end is the end of the others' wait."""
    verifier = issuer.verifier()
    issuer.answering.clear()
    calls = [asyncio.create_task(verifier.verify(issuer.token())) for _ in range(50)]
    await asyncio.sleep(0)
    calls[0].cancel()
    await asyncio.sleep(0)
    issuer.answering.set()
    signed_in = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(signed_in[0], asyncio.CancelledError)
    assert [getattr(each, "subject", each) for each in signed_in[1:]] == ["ada"] * 49
    assert len(issuer.fetched) == FETCHES

    issuer.clock.advance(FETCH_INTERVAL_S)
    jwt = rotate(issuer)
    await asyncio.gather(*(verifier.verify(jwt) for _ in range(50)))
    assert len(issuer.fetched) == 2 * FETCHES


async def test_known_keys_do_not_wait_for_a_slow_issuer(issuer: FakeIssuer) -> None:
    """Somebody with an unknown key makes nobody else wait."""
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    issuer.clock.advance(FETCH_INTERVAL_S)
    issuer.answering.clear()
    waiting = asyncio.create_task(verifier.verify(rotate(issuer)))
    await asyncio.sleep(0)
    assert (await verifier.verify(issuer.token())).subject == "ada"
    assert not waiting.done()
    issuer.answering.set()
    assert (await waiting).subject == "ada"


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://login.example.org"},
        {"issuer": "https://login.example.com/realms/acme/"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "http://login.example.com/keys"},
        {"jwks_uri": "http://127.0.0.1/keys"},
        {"jwks_uri": "https://localhost/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://user@login.example.com/keys"},
        {"token_endpoint": "http://login.example.com/token"},
        {"authorization_endpoint": 5},
    ],
)
async def test_documents_that_are_not_believed(issuer: FakeIssuer, change: dict[str, object]) -> None:
    """One of another issuer, and addresses that are not safe; nothing is fetched from there."""
    issuer.document |= change
    with pytest.raises(IssuerUnavailableError):
        await issuer.verifier().verify(issuer.token())
    assert len(issuer.fetched) == 1


@pytest.mark.parametrize(
    "keys", [None, {}, [], [5, {}], [{"kty": "oct", "k": "c2VjcmV0"}], [public(rsa_key(), "k")] * 101]
)
async def test_key_sets_that_are_not_believed(issuer: FakeIssuer, keys: list[object]) -> None:
    """One without a key that may sign, and one that is far too long."""
    issuer.keys = keys
    with pytest.raises(IssuerUnavailableError):
        await issuer.verifier().verify(issuer.token())


async def test_a_bad_answer_does_not_take_good_keys_away(issuer: FakeIssuer) -> None:
    """An issuer that suddenly has no keys is taken for one that is down."""
    verifier = issuer.verifier()
    await verifier.verify(issuer.token())
    issuer.keys = []
    issuer.clock.advance(FRESH_S)
    assert (await verifier.verify(issuer.token())).subject == "ada"


async def test_sign_in_options_are_those_of_issuers_that_answer(issuer: FakeIssuer) -> None:
    """With the client of the browser, and what to ask for."""
    (option,) = await issuer.verifier(client_id="tallygate-cli", browser_scopes=("openid", "groups")).sign_in_options()
    assert (option.issuer, option.client_id, option.scopes) == (issuer.url, "tallygate-cli", ("openid", "groups"))
    assert option.authorization_endpoint == f"{issuer.url}/authorize"
    assert option.token_endpoint == f"{issuer.url}/token"
    (option,) = await issuer.verifier().sign_in_options()
    assert option.client_id == "tallygate"
