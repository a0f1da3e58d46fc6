"""Documents of issuers, over HTTP: small, in time, from where they were asked for and nowhere else."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import httpx2

from tallygate._web_address import is_this_machine

Document = dict[str, Any]
Fetch = Callable[[str], Awaitable[Document]]
"""Gets the JSON object at an address. Raises FetchError."""

DOCUMENT_BYTES_MAX: Final = 256 * 1024
"""Maximum size of a document: a hundred keys with their certificates."""
TIMEOUT_S: Final = 5.0
"""Timeout of a document, from the look-up of its host to its last byte."""
_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity"}


class FetchError(Exception):
    """A document could not be had; the message goes after its address in a log."""


class HttpFetch:
    """Gets documents. Redirects are not followed: they could lead to hosts that nobody has configured."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None

    async def __call__(self, url: str) -> Document:
        """The JSON object at this address. Raises FetchError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return _parse(await self._read(url))
        except TimeoutError as error:
            raise FetchError(f"did not answer within {self._timeout_s:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            raise FetchError(f"could not be read ({type(error).__name__}: {error})") from error

    async def _read(self, url: str) -> bytes:
        if self._tls is None:
            # Certificates are read from files, which takes too long for an event loop.
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context)
        client = httpx2.AsyncClient(
            verify=self._tls, timeout=self._timeout_s, follow_redirects=False, trust_env=not is_this_machine(url)
        )
        async with client, client.stream("GET", url, headers=_HEADERS) as response:
            if response.status_code != HTTPStatus.OK:
                raise FetchError(f"answered with status {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise FetchError("answered in an encoding that was not asked for")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > DOCUMENT_BYTES_MAX:
                    raise FetchError(f"answered with more than {DOCUMENT_BYTES_MAX} bytes")
            return bytes(body)


def _parse(body: bytes) -> Document:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FetchError("answered with something that is not JSON") from error
    if not isinstance(document, dict):
        raise FetchError("answered with JSON that is no object")
    return document
