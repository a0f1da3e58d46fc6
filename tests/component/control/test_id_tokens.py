"""Which id tokens are accepted, and which are not: each refused one differs from a right one in one thing."""

from typing import Any

import pytest
from joserfc.jwk import Key

from control_service.domain.sign_in import ID_TOKEN_BYTES_MAX, IdTokenRefusedError, Refusal, SignedIn
from control_service.oidc.key_cache import FETCH_INTERVAL_S
from control_service.oidc.verifier import OidcVerifier
from tallygate._access.scope import PLATFORM, Scope
from tallygate._server.clock import US_PER_SECOND
from tests.harness.control.oidc_harness import (
    AUDIENCE,
    LIFE_S,
    URL,
    FakeIssuer,
    ec_key,
    encoded,
    okp_key,
    public,
    rsa_key,
    signed,
    signed_by_secret,
)


async def refusal(verifier: OidcVerifier, jwt: str) -> Refusal:
    with pytest.raises(IdTokenRefusedError) as caught:
        await verifier.verify(jwt)
    assert caught.value.message.startswith("The ")
    assert caught.value.message.endswith(".")
    return caught.value.refusal


async def test_a_right_token_says_who_signed_in(issuer: FakeIssuer) -> None:
    """With issuer, subject, names to show, groups, and the widest scope of the issuer."""
    jwt = issuer.token(name="Ada L.", email="ada@example.com", groups=["ops", "finance", "ops"])
    assert await issuer.verifier(scope=Scope("acme")).verify(jwt) == SignedIn(
        issuer=URL,
        subject="ada",
        display_name="Ada L.",
        email="ada@example.com",
        groups=("ops", "finance"),
        scope=Scope("acme"),
        issued_us=issuer.clock.now_us(),
        expires_us=issuer.clock.now_us() + LIFE_S * US_PER_SECOND,
    )


@pytest.mark.parametrize(
    ("algorithm", "key", "members"),
    [
        ("RS256", rsa_key(), {}),
        ("RS256", rsa_key(), {"alg": "RS256", "use": "sig", "key_ops": ["verify"], "x5c": 3}),
        ("ES256", ec_key(), {"alg": "ES256"}),
        ("EdDSA", okp_key(), {}),
        ("EdDSA", okp_key(), {"alg": "Ed25519"}),
        ("Ed25519", okp_key(), {"alg": "EdDSA"}),
    ],
)
async def test_algorithms_that_sign(issuer: FakeIssuer, algorithm: str, key: Key, members: dict[str, Any]) -> None:
    """RSA, elliptic curves, and Edwards curves by their old and their new name, whatever else the key's entry says."""
    issuer.keys = [public(key, "k", **members)]
    jwt = issuer.token(key, {"alg": algorithm, "kid": "k", "x5t": "unknown", "of-an-issuer": [1]})
    assert (await issuer.verifier().verify(jwt)).subject == "ada"


@pytest.mark.parametrize("algorithm", ["RS384", "PS256", "RS512", "ES384", "none", "None", "", None, ["RS256"], {}])
async def test_no_other_algorithm_signs(issuer: FakeIssuer, algorithm: Any) -> None:
    """Whatever key the issuer has; without a signature, least of all."""
    header = {"alg": algorithm, "kid": "first"}
    key = {"ES384": ec_key("P-384")}.get(algorithm, rsa_key()) if isinstance(algorithm, str) else rsa_key()
    issuer.keys = [public(key, "first")]
    if algorithm in ("RS384", "PS256", "RS512", "ES384"):
        assert await refusal(issuer.verifier(), signed(header, issuer.claims(), key)) is Refusal.ALGORITHM
    for signature in ("", "AAAA"):
        jwt = f"{encoded(header)}.{encoded(issuer.claims())}.{signature}"
        assert await refusal(issuer.verifier(), jwt) in (Refusal.ALGORITHM, Refusal.MALFORMED)


@pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
async def test_a_public_key_is_no_secret(issuer: FakeIssuer, algorithm: str) -> None:
    """A code made with the public key, in whatever form, proves nothing."""
    pem, der = rsa_key().as_pem(private=False), rsa_key().as_der(private=False)
    for secret in (pem, pem.strip(), der, str(rsa_key().as_dict(private=False)["n"]).encode()):
        jwt = signed_by_secret({"alg": algorithm, "kid": "first"}, issuer.claims(), secret)
        assert await refusal(issuer.verifier(), jwt) in (Refusal.ALGORITHM, Refusal.SIGNATURE)


async def test_a_shared_secret_of_an_issuer_signs_nothing(issuer: FakeIssuer) -> None:
    """Not even where the issuer lists it among its keys."""
    issuer.keys.append({"kty": "oct", "k": encoded(b"s" * 32), "kid": "shared"})
    jwt = signed_by_secret({"alg": "HS256", "kid": "shared"}, issuer.claims(), b"s" * 32)
    assert await refusal(issuer.verifier(), jwt) is Refusal.ALGORITHM


@pytest.mark.parametrize(
    "entry",
    [
        public(rsa_key(), "k", use="enc"),
        public(rsa_key(), "k", alg="RS512"),
        public(rsa_key(), "k", key_ops=["sign"]),
        public(rsa_key(), "k", alg=5),
        public(rsa_key(), "K"),
        public(rsa_key()),
        public(rsa_key(), "k", n="AQAB"),
        public(rsa_key(), "k", n="!" * 400),
        public(rsa_key(), "k", n=5),
        public(ec_key(), "k"),
        {"kty": "EC", "crv": "P-192", "x": "AA", "y": "AA", "kid": "k"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "k"},
        {"kty": "OKP", "crv": "Ed1", "x": "AA", "kid": "k"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "k"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "k"},
        {"kid": "k"},
        "k",
    ],
)
async def test_a_key_that_is_for_something_else_does_not_sign(issuer: FakeIssuer, entry: Any) -> None:
    """Nor one that is malformed; the other keys of the issuer stay in use."""
    issuer.keys.append(entry)
    verifier = issuer.verifier()
    assert await refusal(verifier, issuer.token(header={"kid": "k"})) is Refusal.UNKNOWN_KEY
    assert (await verifier.verify(issuer.token())).subject == "ada"


@pytest.mark.filterwarnings("ignore:Key size should be")
async def test_a_short_rsa_key_signs_nothing(issuer: FakeIssuer) -> None:
    """One of 1,024 bits can be taken apart; zeros in front of its modulus make it no longer."""
    short = public(rsa_key(0, 1_024), "short")
    jwt = issuer.token(rsa_key(0, 1_024), {"kid": "short"})
    for modulus in (short["n"], "AAAA" * 100 + short["n"]):
        issuer.keys = [public(rsa_key(), "first"), {**short, "n": modulus}]
        assert await refusal(issuer.verifier(), jwt) is Refusal.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": "https://login.example.com/realms/other"}, Refusal.ISSUER),
        ({"iss": URL + "/"}, Refusal.ISSUER),
        ({"iss": URL.upper()}, Refusal.ISSUER),
        ({"iss": [URL]}, Refusal.ISSUER),
        ({"iss": None}, Refusal.ISSUER),
        ({"aud": "another"}, Refusal.AUDIENCE),
        ({"aud": ["another"]}, Refusal.AUDIENCE),
        ({"aud": []}, Refusal.AUDIENCE),
        ({"aud": {AUDIENCE: 1}}, Refusal.AUDIENCE),
        ({"aud": None}, Refusal.CLAIMS),
        ({"aud": [AUDIENCE, "another"]}, Refusal.AUDIENCE),
        ({"aud": [AUDIENCE, "another"], "azp": "another"}, Refusal.AUDIENCE),
        ({"sub": None}, Refusal.CLAIMS),
        ({"sub": ""}, Refusal.CLAIMS),
        ({"sub": 7}, Refusal.CLAIMS),
        ({"sub": "a\nb"}, Refusal.CLAIMS),
        ({"sub": "a\u00a0b"}, Refusal.CLAIMS),
        ({"sub": "a\u202eb"}, Refusal.CLAIMS),
        ({"sub": "a" * 256}, Refusal.CLAIMS),
        ({"exp": None}, Refusal.CLAIMS),
        ({"exp": "tomorrow"}, Refusal.CLAIMS),
        ({"exp": True}, Refusal.CLAIMS),
        ({"exp": float("nan")}, Refusal.CLAIMS),
        ({"exp": float("inf")}, Refusal.CLAIMS),
        ({"exp": 1e300}, Refusal.CLAIMS),
        ({"exp": 10**400}, Refusal.CLAIMS),
        ({"exp": -1}, Refusal.EXPIRED),
        ({"iat": None}, Refusal.CLAIMS),
        ({"iat": "now"}, Refusal.CLAIMS),
        ({"iat": True}, Refusal.CLAIMS),
        ({"iat": float("nan")}, Refusal.CLAIMS),
        ({"iat": float("-inf")}, Refusal.CLAIMS),
        ({"iat": -(10**400)}, Refusal.CLAIMS),
        ({"nbf": True}, Refusal.CLAIMS),
        ({"nbf": float("nan")}, Refusal.CLAIMS),
        ({"nbf": "now"}, Refusal.CLAIMS),
        ({"events": {}}, Refusal.NOT_AN_ID_TOKEN),
        ({"groups": 5}, Refusal.GROUPS),
        ({"groups": ["ops", 5]}, Refusal.GROUPS),
        ({"groups": [""]}, Refusal.GROUPS),
        ({"groups": ["a\x1b"]}, Refusal.GROUPS),
        ({"groups": ["a\u200bb"]}, Refusal.GROUPS),
        ({"groups": ["g" * 257]}, Refusal.GROUPS),
        ({"groups": [f"g{number}" for number in range(201)]}, Refusal.GROUPS),
        ({"_claim_names": {"groups": "src1"}}, Refusal.GROUPS),
        ({"hasgroups": True}, Refusal.GROUPS),
    ],
)
async def test_claims_that_are_refused(issuer: FakeIssuer, changes: dict[str, Any], expected: Refusal) -> None:
    """Though the issuer has signed them."""
    assert await refusal(issuer.verifier(), issuer.token(**changes)) is expected


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [AUDIENCE]},
        {"aud": [AUDIENCE, "another"], "azp": AUDIENCE},
        {"groups": "ops"},
        {"groups": ["g" * 256] + [f"g{number}" for number in range(199)]},
        {"name": 5, "email": ["a"], "nonce": {}, "validate_exp": 1, "leeway": 9},
        {"sub": "a" * 255},
    ],
)
async def test_claims_that_are_accepted(issuer: FakeIssuer, changes: dict[str, Any]) -> None:
    """The other side of each bound, and claims that decide nothing."""
    assert (await issuer.verifier().verify(issuer.token(**changes))).subject[:1] == "a"


async def test_the_client_of_the_browser_may_ask_for_the_audience(issuer: FakeIssuer) -> None:
    """As it does where the client of the command line and the audience have different ids."""
    jwt = issuer.token(aud=[AUDIENCE, "another"], azp="tallygate-cli")
    assert (await issuer.verifier(client_id="tallygate-cli").verify(jwt)).subject == "ada"
    assert await refusal(issuer.verifier(), jwt) is Refusal.AUDIENCE


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"typ": "at+jwt"}, Refusal.NOT_AN_ID_TOKEN),
        ({"typ": "logout+jwt"}, Refusal.NOT_AN_ID_TOKEN),
        ({"typ": 1}, Refusal.NOT_AN_ID_TOKEN),
        ({"crit": ["exp"]}, Refusal.MALFORMED),
        ({"crit": 5}, Refusal.MALFORMED),
        ({"b64": True}, Refusal.MALFORMED),
        ({"b64": False, "crit": ["b64"]}, Refusal.MALFORMED),
        ({"kid": 5}, Refusal.MALFORMED),
        ({"kid": {}}, Refusal.MALFORMED),
    ],
)
async def test_headers_that_are_refused(issuer: FakeIssuer, header: dict[str, Any], expected: Refusal) -> None:
    """Other tokens of the same issuer, and extensions that nobody here knows."""
    assert await refusal(issuer.verifier(), issuer.token(header=header)) is expected


@pytest.mark.parametrize(
    "jwt",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d",
        "é.é.é",
        f"{encoded('xalgx')}.{encoded({})}.",
        f"{encoded(['alg'])}.{encoded({})}.",
        f"{encoded({'alg': 'RS256'})}.{encoded([])}.AA",
        f"{encoded({'alg': 'RS256'})}.{encoded(b'[' * 8_000)}.AA",
        f"{encoded(b'[' * 6_000)}.{encoded({})}.AA",
        f"{encoded({'alg': 'RS256'})}.{encoded(b'9' * 8_000)}.AA",
    ],
)
async def test_what_is_no_token_is_refused(issuer: FakeIssuer, jwt: str) -> None:
    """Without asking the issuer anything."""
    assert await refusal(issuer.verifier(), jwt) is Refusal.MALFORMED
    assert issuer.fetched == []


async def test_a_large_token_is_refused(issuer: FakeIssuer) -> None:
    """Though it is right in everything else; one of exactly the maximum is accepted."""
    room = (ID_TOKEN_BYTES_MAX - len(issuer.token(filler=""))) * 3 // 4
    fitting = issuer.token(filler="x" * room)
    assert ID_TOKEN_BYTES_MAX - 2 <= len(fitting) <= ID_TOKEN_BYTES_MAX
    assert (await issuer.verifier().verify(fitting)).subject == "ada"
    assert await refusal(issuer.verifier(), issuer.token(filler="x" * ID_TOKEN_BYTES_MAX)) is Refusal.TOO_LARGE


async def test_a_signature_of_another_key_is_refused(issuer: FakeIssuer) -> None:
    """Under the id of a key of the issuer, and with a key in the token itself."""
    forged = issuer.token(rsa_key(1), {"jwk": public(rsa_key(1)), "jku": "https://evil.example.com/keys"})
    assert await refusal(issuer.verifier(), forged) is Refusal.SIGNATURE
    assert len(issuer.fetched) == 2


async def test_clocks_may_differ_by_a_minute(issuer: FakeIssuer) -> None:
    """A token is accepted until 60 s after its expiry, and from 60 s before it begins; not at 61."""
    verifier, now_s = issuer.verifier(), issuer.clock.now_us() // US_PER_SECOND
    assert (await verifier.verify(issuer.token(exp=now_s - 59))).subject == "ada"
    assert await refusal(verifier, issuer.token(exp=now_s - 60)) is Refusal.EXPIRED
    assert (await verifier.verify(issuer.token(nbf=now_s + 60, iat=now_s + 60))).subject == "ada"
    assert await refusal(verifier, issuer.token(nbf=now_s + 61)) is Refusal.NOT_YET_VALID
    assert await refusal(verifier, issuer.token(iat=now_s + 61)) is Refusal.NOT_YET_VALID


async def test_a_token_without_a_key_id_needs_an_issuer_with_one_key(issuer: FakeIssuer) -> None:
    """Of that kind; with two, nobody knows which was meant."""
    issuer.keys.append(public(ec_key(), "second"))
    jwt = signed({"alg": "RS256"}, issuer.claims(), rsa_key())
    assert (await issuer.verifier().verify(jwt)).subject == "ada"
    issuer.keys.append(public(rsa_key(1), "third"))
    assert await refusal(issuer.verifier(), jwt) is Refusal.UNKNOWN_KEY


async def test_groups_are_those_of_the_configured_claim(issuer: FakeIssuer) -> None:
    """Of that alone, by its whole name; without one nobody is in a group, however many the issuer states."""
    claims: dict[str, Any] = {"https://acme.example.com/roles": ["ops"], "hasgroups": True, "groups": [5]}
    jwt = issuer.token(**claims)
    assert (await issuer.verifier(groups_claim="https://acme.example.com/roles").verify(jwt)).groups == ("ops",)
    assert (await issuer.verifier(groups_claim="").verify(jwt)).groups == ()


async def test_no_issuer_speaks_for_another(issuer: FakeIssuer) -> None:
    """A key proves tokens of its own issuer alone, and what it states is stated by that issuer, scope included."""
    other = FakeIssuer(issuer.clock, "https://login.example.org")
    other.keys = [public(rsa_key(1), "second")]

    async def fetch(url: str) -> dict[str, Any]:
        return await (other if url.startswith(other.url) else issuer).fetch(url)

    configured = [issuer.configured(), other.configured(scope=Scope("acme"))]
    verifier = OidcVerifier(configured, fetch, issuer.clock)
    first = await verifier.verify(issuer.token(groups=["ops"]))
    second = await verifier.verify(other.token(rsa_key(1), {"kid": "second"}, groups=["ops"]))
    assert (first.issuer, first.scope) == (issuer.url, PLATFORM)
    assert (second.issuer, second.scope) == (other.url, Scope("acme"))
    forged = issuer.token(rsa_key(1), {"kid": "second"})
    issuer.clock.advance(FETCH_INTERVAL_S)
    assert await refusal(verifier, forged) is Refusal.UNKNOWN_KEY
    assert await refusal(verifier, issuer.token(rsa_key(1))) is Refusal.SIGNATURE


async def test_nothing_of_a_token_is_repeated(issuer: FakeIssuer) -> None:
    """Neither in a message nor in what Python shows of an error."""
    marks: list[dict[str, Any]] = [
        {"sub": "mark\n"},
        {"iss": "https://mark.example.com"},
        {"aud": "mark"},
        {"exp": "mark"},
        {"groups": ["mark\n"]},
    ]
    for mark in marks:
        with pytest.raises(IdTokenRefusedError) as caught:
            await issuer.verifier().verify(issuer.token(**mark))
        assert "mark" not in repr(caught.value)
