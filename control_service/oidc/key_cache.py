"""The keys of one issuer, kept in memory: fetched when they are needed, by one call at a time, and not too often."""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from control_service.domain.sign_in import IssuerUnavailableError
from control_service.oidc.fetch import Fetch, FetchError
from control_service.oidc.keys import KeyRing
from control_service.oidc.provider import Provider, ProviderError, discovery_url, parse_provider
from tallygate._server.clock import Clock

FETCH_INTERVAL_S: Final = 10
"""Interval between two fetches from one issuer at least, whatever tokens come."""
FRESH_S: Final = 600
"""Time after which keys are fetched again before they are used, so that one that was withdrawn is not used for ever."""

_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """What an issuer last said; `number` counts how often it was fetched."""

    provider: Provider
    keys: KeyRing
    fetched_ns: int
    number: int


class KeyCache:
    """Whoever needs keys waits for the same fetch. What is known stays in use while the issuer does not answer."""

    def __init__(self, issuer_url: str, fetch: Fetch, clock: Clock) -> None:
        self._issuer_url = issuer_url
        self._fetch = fetch
        self._clock = clock
        self._known: Known | None = None
        self._tried_ns: int | None = None
        self._fetching: asyncio.Task[bool] | None = None

    @property
    def fetches(self) -> int:
        """The number of fetches that succeeded."""
        return self._known.number if self._known else 0

    async def known(self) -> Known:
        """What the issuer said, mostly at once. Raises IssuerUnavailableError: it has not said anything yet."""
        if self._known is None or self._age_ns(self._known.fetched_ns) >= FRESH_S * _NS_PER_S:
            await self._fetch_now()
        if self._known is None:
            raise self._unavailable("The issuer does not answer, so nobody can tell whether its id tokens are genuine")
        return self._known

    async def known_after(self, number: int) -> Known:
        """What the issuer said later than that fetch.

        Raises:
            IssuerUnavailableError: it does not answer, or it may not be asked yet.
        """
        if self.fetches > number or await self._fetch_now():
            assert self._known is not None
            return self._known
        raise self._unavailable(
            "The key of the id token is not known, and its issuer cannot be asked for it now, so nobody can tell "
            "whether the token is genuine"
        )

    async def _fetch_now(self) -> bool:
        """Whether what is known is what the issuer says now."""
        if self._fetching is None:
            now_ns = self._clock.monotonic_ns()
            if self._tried_ns is not None and now_ns - self._tried_ns < FETCH_INTERVAL_S * _NS_PER_S:
                return False
            self._tried_ns = now_ns
            self._fetching = asyncio.create_task(self._fetch_all(), name=f"keys of {self._issuer_url}")
            self._fetching.add_done_callback(self._forget_task)
        # One caller's end must not end the fetch that others wait for.
        return await asyncio.shield(self._fetching)

    async def _fetch_all(self) -> bool:
        url = discovery_url(self._issuer_url)
        try:
            provider = parse_provider(self._issuer_url, await self._fetch(url))
            url = provider.jwks_uri
            keys = KeyRing.parse(await self._fetch(url))
        except (FetchError, ProviderError) as error:
            _log.warning("issuer_unavailable", issuer=self._issuer_url, problem=f"{url} {error}")
            return False
        self._known = Known(provider, keys, self._clock.monotonic_ns(), self.fetches + 1)
        return True

    def _forget_task(self, _: asyncio.Task[bool]) -> None:
        self._fetching = None

    def _age_ns(self, since_ns: int) -> int:
        return self._clock.monotonic_ns() - since_ns

    def _unavailable(self, sentence: str) -> IssuerUnavailableError:
        waited_ns = self._age_ns(self._tried_ns) if self._tried_ns is not None else 0
        wait_ms = max(1_000, (FETCH_INTERVAL_S * _NS_PER_S - waited_ns) // _NS_PER_MS)
        return IssuerUnavailableError(f"{sentence}; try again in {-(-wait_ms // 1_000)} s.", retry_after_ms=wait_ms)
