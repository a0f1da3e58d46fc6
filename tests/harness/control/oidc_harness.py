"""An OpenID Connect issuer in memory, and tokens as it, or somebody in its place, would make them."""

import asyncio
import base64
import hashlib
import hmac
import json
from dataclasses import replace
from functools import cache
from typing import Any

from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from control_service.oidc.fetch import Document, FetchError
from control_service.oidc.issuer import Issuer
from control_service.oidc.provider import discovery_url
from control_service.oidc.verifier import OidcVerifier
from tallygate._access.scope import PLATFORM
from tallygate._server.clock import US_PER_SECOND, ManualClock

URL = "https://login.example.com/realms/acme"
AUDIENCE = "tallygate"
LIFE_S = 300


@cache
def rsa_key(number: int = 0, bits: int = 2_048) -> RSAKey:
    """A private key; the same one for the same number."""
    return RSAKey.generate_key(bits)


@cache
def ec_key(curve: Any = "P-256") -> ECKey:
    return ECKey.generate_key(curve)


@cache
def okp_key() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


def public(key: Key, key_id: str | None = None, **members: Any) -> dict[str, Any]:
    """A key as an issuer publishes it."""
    return {**key.as_dict(private=False), **({} if key_id is None else {"kid": key_id}), **members}


def encoded(part: Any) -> str:
    """A part of a token; bytes as they are, everything else as JSON."""
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: dict[str, Any], claims: Any, key: Key) -> str:
    """A token, signed by the algorithm in the header whatever else it says."""
    text = f"{encoded(header)}.{encoded(claims)}"
    return f"{text}.{encoded(JWSRegistry.algorithms[header['alg']].sign(text.encode(), key))}"


def signed_by_secret(header: dict[str, Any], claims: Any, secret: bytes) -> str:
    """A token with a code by a shared secret, such as a public key that is taken for one."""
    text = f"{encoded(header)}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


class FakeIssuer:
    """An issuer that serves its documents from memory; `down` and `slow` are what can be wrong with it."""

    def __init__(self, clock: ManualClock, url: str = URL) -> None:
        self.clock = clock
        self.url = url
        self.keys: list[Any] = [public(rsa_key(), "first")]
        self.document: Document = {
            "issuer": url,
            "jwks_uri": f"{url}/keys",
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
        }
        self.down = False
        self.answering = asyncio.Event()
        self.answering.set()
        self.fetched: list[str] = []

    async def fetch(self, url: str) -> Document:
        self.fetched.append(url)
        await self.answering.wait()
        if self.down:
            raise FetchError("answered with status 503")
        return {discovery_url(self.url): self.document, f"{self.url}/keys": {"keys": self.keys}}[url]

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims of a token that is right; a change to None takes a claim away."""
        now_s = self.clock.now_us() // US_PER_SECOND
        right = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now_s, "exp": now_s + LIFE_S} | changes
        return {name: value for name, value in right.items() if value is not None}

    def token(self, key: Key | None = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token that is right but for the changes; a change to None takes a claim or something of the header away."""
        whole = {"alg": "RS256", "kid": "first"} | (header or {})
        return signed(
            {name: value for name, value in whole.items() if value is not None},
            self.claims(**changes),
            key or rsa_key(),
        )

    def configured(self, **changes: Any) -> Issuer:
        """This issuer, as an operator has configured it."""
        return replace(Issuer(self.url, AUDIENCE, PLATFORM), **changes)

    def verifier(self, **changes: Any) -> OidcVerifier:
        """A verifier that knows this issuer alone."""
        return OidcVerifier([self.configured(**changes)], self.fetch, self.clock)
