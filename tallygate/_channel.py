"""Channels of all clients: by plain text or TLS, with a token or without, past proxies where none is to be taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from tallygate._pem import KeyPair, PemError, Watched, read_authorities, read_pair
from tallygate._proxies import channel_options, is_this_machine
from tallygate._security import PLAIN, Security
from tallygate._tokens import TokenChannel, token_interceptor

Options = Sequence[tuple[str, Any]]
NAMES_AGAIN_MS: Final = 1_000
"""Minimum interval between two look-ups of a server's name; as it comes it is 30 s, in which one that moved is away."""
TOKEN_BYTES_MAX: Final = 4_096
"""Maximum size of a token; headers of a call are limited to 8 KiB by most servers."""


@dataclass(frozen=True, slots=True)
class _Files:
    authorities: bytes
    pair: KeyPair | None
    credentials: grpc.ChannelCredentials = field(compare=False, repr=False)


class Channels:
    """Opens channels, for as long as a program runs. Files that changed are read again for each new channel.

    `complain` is told, in a sentence and at most once a minute, why files that changed are not used: those that were
    read before still are.
    """

    def __init__(self, security: Security = PLAIN, complain: Callable[[str], None] = lambda _: None) -> None:
        """Raises ValueError where a file is missing or broken."""
        self.security = security
        self._files = Watched(self._read_files, complain) if security.has_tls else None
        self._token = Watched(self._read_token, complain) if security.token or security.token_file else None

    def check(self, address: str) -> None:
        """Refuse an address to which nothing is to be sent. Raises ValueError."""
        if self._token is not None and not self.security.has_tls and not is_this_machine(address):
            raise ValueError(
                f"The token is not sent to {address} in plain text, where anybody on the way could read it: "
                "name the authority of the server's certificate, so that the connection is by TLS."
            )

    @property
    def version(self) -> object:
        """Stands for the contents of the files as they are now: another object where a new channel would differ."""
        return self._files and self._files.current()

    def open(self, address: str, options: Options = ()) -> grpc.Channel:
        """A channel for threads. Raises ValueError for an address to which nothing is to be sent."""
        self.check(address)
        every = _options(address, options)
        credentials = self._credentials()
        if credentials is None:
            channel = grpc.insecure_channel(address, options=every)
        else:
            channel = grpc.secure_channel(address, credentials, options=every)
        return channel if self._token is None else grpc.intercept_channel(channel, token_interceptor(self._metadata))

    def open_aio(self, address: str, options: Options = ()) -> grpc.aio.Channel:
        """A channel for asyncio. Raises ValueError for an address to which nothing is to be sent."""
        self.check(address)
        every = _options(address, options)
        credentials = self._credentials()
        if credentials is None:
            channel = grpc.aio.insecure_channel(address, options=every)
        else:
            channel = grpc.aio.secure_channel(address, credentials, options=every)
        return channel if self._token is None else TokenChannel(channel, self._metadata)

    def _credentials(self) -> grpc.ChannelCredentials | None:
        return None if self._files is None else self._files.current().credentials

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return () if self._token is None else (("authorization", f"Bearer {self._token.current()}"),)

    def _read_files(self, known: _Files | None) -> _Files:
        security, known_pair = self.security, known.pair if known else None
        authorities = read_authorities(str(security.ca_file), known.authorities if known else None)
        has_pair = bool(security.cert_file)
        pair = read_pair(str(security.cert_file), str(security.key_file), known_pair) if has_pair else None
        key, certificate = (pair.key, pair.certificate) if pair else (None, None)
        return _Files(authorities, pair, grpc.ssl_channel_credentials(authorities, key, certificate))

    def _read_token(self, _known: str | None) -> str:
        if self.security.token:
            return _checked(self.security.token, "The token that was given")
        file = self.security.token_file
        try:
            text = Path(file).read_text(encoding="ascii", errors="replace")
        except OSError as error:
            raise PemError(f"{file} cannot be read: {error.strerror}.") from error
        return _checked(text.strip(), str(file))


def open_channel(address: str, security: Security = PLAIN, options: Options = ()) -> grpc.Channel:
    """One channel for threads. Raises ValueError where a file is broken, or nothing is to be sent to the address."""
    return Channels(security).open(address, options)


def open_aio_channel(address: str, security: Security = PLAIN, options: Options = ()) -> grpc.aio.Channel:
    """One channel for asyncio. Raises ValueError where a file is broken, or nothing is to be sent to the address."""
    return Channels(security).open_aio(address, options)


def _options(address: str, options: Options) -> Options:
    return [("grpc.dns_min_time_between_resolutions_ms", NAMES_AGAIN_MS), *options, *channel_options(address)]


def _checked(token: str, whose: str) -> str:
    """Refuse what cannot be sent as a token, without repeating it. Raises PemError."""
    if not token or len(token) > TOKEN_BYTES_MAX or not all("!" <= letter <= "~" for letter in token):
        raise PemError(f"{whose} is no token: a token is one word of visible ASCII letters.")
    return token
