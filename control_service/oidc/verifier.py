"""The verification of id tokens, from the text that somebody sends to a person of an issuer."""

import asyncio
from collections.abc import Sequence

from typing_extensions import override

from control_service.domain.sign_in import IdTokenRefusedError, IssuerUnavailableError, Refusal, SignedIn
from control_service.oidc.claims import signed_in
from control_service.oidc.fetch import Fetch
from control_service.oidc.issuer import Issuer
from control_service.oidc.key_cache import KeyCache
from control_service.oidc.signed_token import SignedToken, parse_token
from control_service.usecases.access.oidc_port import IdTokenVerifier, SignInOption
from tallygate._server.clock import Clock


class OidcVerifier(IdTokenVerifier):
    """Knows the configured issuers, each with keys of its own: no issuer's key proves a token of another."""

    def __init__(self, issuers: Sequence[Issuer], fetch: Fetch, clock: Clock) -> None:
        self._clock = clock
        self._issuers = {each.url: (each, KeyCache(each.url, fetch, clock)) for each in issuers}

    @override
    async def verify(self, jwt: str) -> SignedIn:
        token = parse_token(jwt)
        url = token.claims.get("iss")
        if not isinstance(url, str) or url not in self._issuers:
            raise IdTokenRefusedError(
                Refusal.ISSUER, "The id token is of an issuer that is not configured here; sign in at another one."
            )
        issuer, cache = self._issuers[url]
        await _check_signature(token, cache)
        return signed_in(token.claims, issuer, self._clock.now_us())

    @override
    async def sign_in_options(self) -> Sequence[SignInOption]:
        options = await asyncio.gather(
            *(self._option(*each) for each in self._issuers.values()), return_exceptions=True
        )
        for each in options:
            if isinstance(each, BaseException) and not isinstance(each, IssuerUnavailableError):
                raise each
        answering = [each for each in options if isinstance(each, SignInOption)]
        if options and not answering:
            raise next(each for each in options if isinstance(each, IssuerUnavailableError))
        return answering

    async def _option(self, issuer: Issuer, cache: KeyCache) -> SignInOption:
        provider = (await cache.known()).provider
        return SignInOption(
            issuer=issuer.url,
            client_id=issuer.browser_client_id,
            authorization_endpoint=provider.authorization_endpoint,
            token_endpoint=provider.token_endpoint,
            scopes=issuer.browser_scopes,
        )


async def _check_signature(token: SignedToken, cache: KeyCache) -> None:
    """Look for the key once more if it is not known. Raises IdTokenRefusedError and IssuerUnavailableError."""
    number = cache.fetches
    keys = (await cache.known()).keys.find(token.key_id, token.algorithm)
    if token.is_signed_by(keys):
        return
    # A token that names no key may be signed by one that came in place of the known one.
    if not keys or token.key_id is None:
        keys = (await cache.known_after(number)).keys.find(token.key_id, token.algorithm)
        if token.is_signed_by(keys):
            return
    if not keys:
        raise IdTokenRefusedError(
            Refusal.UNKNOWN_KEY, "The id token names no key that its issuer has for signatures; sign in again."
        )
    raise IdTokenRefusedError(Refusal.SIGNATURE, "The id token was not signed by its issuer; sign in again.")
