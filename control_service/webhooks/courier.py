"""The courier over HTTP: in time, to a checked address, and nowhere else.

A name is resolved once, and the connection goes to the address that was checked, so that a name which changes its
address in between leads nowhere; TLS verifies the name all the same. Redirects are not followed, proxies of the
environment are not asked, and of an answer only the status counts.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import httpx2
from typing_extensions import override

from control_service.domain.delivery import SECOND_US, Outcome, Problem
from control_service.domain.public_address import is_public, may_be_private, parse_address
from control_service.usecases.alerts.courier_port import Courier, Letter
from control_service.webhooks.message import body_of, headers_of

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host, for a port. Raises OSError."""

TIMEOUT_S: Final = 10.0
"""Timeout of an attempt, from the look-up of the name to the answer."""
ANSWER_BYTES_MAX: Final = 4_096
"""Maximum size of an answer that is read to its end, and thrown away."""
RETRY_AFTER_DIGITS_MAX: Final = 9
"""Maximum length of a time that is asked for, in seconds: what is longer is none."""
_HEADERS: Final = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "tallygate"}
_PORTS: Final = {"https": 443, "http": 80}


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses that this machine knows of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class HttpCourier(Courier):
    """Posts letters. `allows_private`: also to private networks, and without TLS."""

    def __init__(
        self,
        *,
        allows_private: bool = False,
        resolve: Resolve = resolve,
        timeout_s: float = TIMEOUT_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allows_private = allows_private
        self._resolve = resolve
        self._timeout_s = timeout_s
        self._tls = tls

    @override
    async def take(self, letter: Letter) -> Outcome:
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                return await self._post(letter, limit)
        except (TimeoutError, httpx2.TimeoutException):
            return Outcome(problem=Problem.TIMEOUT)
        except httpx2.ProtocolError:
            return Outcome(problem=Problem.ANSWER_BROKEN)
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            return Outcome(problem=Problem.TLS if _is_of_tls(error) else Problem.CONNECTION)

    async def _post(self, letter: Letter, limit: asyncio.Timeout) -> Outcome:
        parts = urlsplit(letter.webhook.url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
        if parts.scheme not in (_PORTS if self._allows_private else ("https",)):
            return Outcome(problem=Problem.ADDRESS_REFUSED)
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):
            return Outcome(problem=Problem.NAME_UNKNOWN)
        address = next(filter(self._is_allowed, addresses), None)
        if address is None:
            return Outcome(problem=Problem.ADDRESS_REFUSED)
        body = body_of(letter)
        headers = _HEADERS | {"host": parts.netloc} | headers_of(letter, body)
        url = httpx2.URL(letter.webhook.url).copy_with(host=address)
        async with (
            httpx2.AsyncClient(
                verify=await self._context(), timeout=self._timeout_s, follow_redirects=False, trust_env=False
            ) as client,
            client.stream("POST", url, headers=headers, content=body, extensions={"sni_hostname": host}) as response,
        ):
            # What follows a status changes nothing any more, in whatever time it comes.
            limit.reschedule(None)
            with suppress(TimeoutError, httpx2.HTTPError, httpx2.StreamError):
                async with asyncio.timeout(1.0):
                    await _read(response)
            return Outcome(status=response.status_code, retry_after_us=_retry_after_us(response))

    def _is_allowed(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and (may_be_private(address) if self._allows_private else is_public(address))

    async def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            # Certificates are read from files, which takes too long for an event loop.
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context)
        return self._tls


def _retry_after_us(response: httpx2.Response) -> int:
    """The time for which a receiver asks to be left alone, of RFC 9110, section 10.2.3; as a date it is not read."""
    text = response.headers.get("retry-after", "")
    is_delay = text.isascii() and text.isdigit() and len(text) <= RETRY_AFTER_DIGITS_MAX
    return int(text) * SECOND_US if is_delay else 0


async def _read(response: httpx2.Response) -> None:
    """Reads a short answer to its end, which a receiver may wait for."""
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > ANSWER_BYTES_MAX:
            return


def _is_of_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
