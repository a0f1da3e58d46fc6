"""Tokens that are mangled in any way are refused, and never do anything else."""

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from joserfc.jws import JWSRegistry

from control_service.domain.sign_in import IdTokenRefusedError, IssuerUnavailableError
from control_service.oidc.keys import KeyRing
from tallygate._server.clock import ManualClock
from tests.harness.control.oidc_harness import FakeIssuer, encoded, public, rsa_key, signed

ISSUER = FakeIssuer(ManualClock())
VERIFIER = ISSUER.verifier()
RIGHT = ISSUER.token(groups=["ops"])

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
claim_names = st.sampled_from(
    ["iss", "aud", "sub", "exp", "iat", "nbf", "azp", "groups", "_claim_names", "hasgroups", "events", "name", "email"]
)
header_names = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c", "x5u", "cty", "zip", "enc"])


def is_refused(jwt: str) -> bool:
    """Whether it is; any other exception is this test's failure."""
    try:
        asyncio.run(VERIFIER.verify(jwt))
    except (IdTokenRefusedError, IssuerUnavailableError) as error:
        return error.message.isprintable()
    return False


def test_the_right_token_is_accepted() -> None:
    """So that the others are refused for what was done to them."""
    assert not is_refused(RIGHT)


@given(st.text(max_size=200) | st.text(alphabet="abcAB019-_.=", max_size=200))
def test_any_text_is_refused(text: str) -> None:
    """Whatever it is."""
    assert is_refused(text)


@given(st.data())
def test_a_token_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    """In its header, its claims or its signature; left out, put in or changed."""
    start = data.draw(st.integers(0, len(RIGHT) - 1))
    end = data.draw(st.integers(start, min(len(RIGHT), start + 3)))
    mangled = RIGHT[:start] + data.draw(st.text(alphabet="abcAB019-_.= \n\0é", max_size=3)) + RIGHT[end:]
    if mangled != RIGHT:
        assert is_refused(mangled)


@given(st.dictionaries(header_names, values, max_size=4), values)
def test_headers_and_claims_without_a_signature_are_refused(header: dict[str, Any], claims: Any) -> None:
    """Of any shape."""
    header = {"alg": "RS256", "kid": "first", **header}
    assert is_refused(f"{encoded(header)}.{encoded(claims)}.{encoded(b'x' * 256)}")


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_parts_of_any_bytes_are_refused(header: bytes, claims: bytes) -> None:
    """Also where they are encoded as parts are."""
    assert is_refused(f"{encoded(header)}.{encoded(claims)}.{encoded(b'')}")


@given(st.dictionaries(claim_names, values, min_size=1, max_size=4))
def test_signed_claims_of_any_shape_are_refused_or_mean_what_they_say(changes: dict[str, Any]) -> None:
    """What the issuer itself signs can be odd as well; nothing odd becomes a person."""
    claims = ISSUER.claims() | changes
    jwt = signed({"alg": "RS256", "kid": "first"}, claims, rsa_key())
    if not is_refused(jwt):
        person = asyncio.run(VERIFIER.verify(jwt))
        assert (person.issuer, person.subject) == (claims["iss"], claims["sub"])
        assert json.dumps([person.groups, person.display_name, person.email]).isprintable()
        assert all(map(len, person.groups))


@given(st.dictionaries(header_names, values | st.sampled_from(["JWT", "first", "RS256"]), min_size=1, max_size=3))
def test_signed_headers_of_any_shape_are_refused_or_say_nothing(changes: dict[str, Any]) -> None:
    """The algorithm and the key are those of the issuer, and nothing asks for what is not known here."""
    header = {"alg": "RS256", "kid": "first", **changes}
    text = f"{encoded(header)}.{encoded(ISSUER.claims())}"
    signature = JWSRegistry.algorithms["RS256"].sign(text.encode(), rsa_key())
    if not is_refused(f"{text}.{encoded(signature)}"):
        assert (header["alg"], header["kid"], header.get("typ", "JWT").upper()) == ("RS256", "first", "JWT")
        assert not {"crit", "b64"} & set(header)


members = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops", "d", "k"])
words = st.sampled_from(
    ["EC", "OKP", "RSA", "oct", "P-256", "P-192", "Ed25519", "X25519", "AQAB", "sig", "AA", "A" * 400]
)


@given(st.lists(st.dictionaries(members, words | values, max_size=8) | values, max_size=3))
def test_keys_of_any_shape_are_passed_over(entries: list[Any]) -> None:
    """The keys beside them stay in use."""
    ring = KeyRing.parse({"keys": [*entries, public(rsa_key(), "the right one")]})
    assert len(ring.find("the right one", "RS256")) == 1
