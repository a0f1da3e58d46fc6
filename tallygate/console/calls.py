"""Calls of the services: one channel to each address for all sessions, each call with its caller's own credential."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

import grpc

from tallygate._channel import Channels
from tallygate._proxies import is_this_machine
from tallygate._server.clock import Clock
from tallygate._tls_failures import tls_problem
from tallygate._wire.failures import decode_failure

READ_TIMEOUT_S: Final = 5.0
"""Timeout of each call by which a page is read."""
CHANGE_TIMEOUT_S: Final = 10.0
"""Timeout of each call of a change."""
CLOSING_S: Final = 10.0
"""Timeout of calls on a channel that was replaced."""
NOTE: Final = ("tallygate-actor", "console")
"""Word by which this program names itself in the audit log, beside whoever is signed in."""

_OPTIONS: Final = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # How long an attempt to connect may take, whatever its name says: else no far service would ever be reached.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 500),
]
_AWAY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_STATUSES: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.CONFLICT,
    grpc.StatusCode.ABORTED: HTTPStatus.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}

_log = logging.getLogger(__name__)


class CallError(Exception):
    """A call that failed.

    Attributes:
        code: Its status.
        sentence: The service's own, or this program's where the service said nothing.
        reason: A name of the service's ErrorReason; empty where it has none.
        violations: What is wrong with which field, by the field's path in the request.
        away_since_us: Since when nobody has answered, in microseconds since 1970; 0 for an answer.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        sentence: str,
        reason: str = "",
        violations: Sequence[tuple[str, str]] = (),
        away_since_us: int = 0,
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.reason = reason
        self.violations = tuple(violations)
        self.away_since_us = away_since_us

    @property
    def is_away(self) -> bool:
        """Whether nobody answered, so that another attempt may well succeed."""
        return self.code in _AWAY

    @property
    def status(self) -> HTTPStatus:
        """What a browser is told."""
        return _STATUSES.get(self.code, HTTPStatus.BAD_GATEWAY)


class Link:
    """The way to one service, at one address or at several that serve alike, which are tried in turn.

    Attributes:
        whom: What people call it.
        away_since_us: When it was first seen not to answer; None while it does.
    """

    def __init__(self, whom: str, addresses: Sequence[str], channels: Channels, clock: Clock) -> None:
        self.whom = whom
        self.addresses = tuple(addresses)
        self.away_since_us: int | None = None
        self._lines = [_Line(address, channels) for address in addresses]
        self._alone: dict[str, Link] = {}
        self._clock = clock

    @property
    def keeps_secrets(self) -> bool:
        """Whether nobody on the way can read what is sent, or pose as the service."""
        return all(line.keeps_secrets for line in self._lines)

    def alone(self, address: str) -> Link:
        """The way to one address of these, by the same channel; it knows since when nobody answers there."""
        if address not in self._alone:
            found = [line for line in self._lines if line.address == address]
            link = self._alone[address] = Link(f"{self.whom} at {address}", (), found[0].channels, self._clock)
            link.addresses, link._lines = (address,), found
        return self._alone[address]

    def channel(self, credential: str, timeout_s: float) -> grpc.aio.Channel:
        """What stubs are made of; their calls have this credential, end in time and raise CallError."""
        return cast("grpc.aio.Channel", _CallerChannel(self, credential, timeout_s))

    async def call(self, path: str, codec: dict[str, Any], request: Any, credential: str, timeout_s: float) -> Any:
        """The answer to one call. Raises CallError."""
        metadata = (NOTE, ("authorization", f"Bearer {credential}")) if credential else (NOTE,)
        lines = list(self._lines)
        for line in lines:
            if credential and not line.keeps_secrets:
                raise CallError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Your credential is not sent to {self.whom} in plain text, where anybody on the way could read "
                    "it: whoever runs this console must name the authority of its certificate.",
                )
            try:
                method = line.open().unary_unary(path, **codec)
                answer = await method(request, timeout=timeout_s, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() in _AWAY and line is self._lines[0]:
                    self._lines.append(self._lines.pop(0))
                if error.code() == grpc.StatusCode.UNAVAILABLE and line is not lines[-1]:
                    continue
                raise self._failure(error) from None
            self.away_since_us = None
            return answer
        raise AssertionError(self.addresses)

    async def close(self) -> None:
        """Close all channels."""
        await asyncio.gather(*(line.close() for line in self._lines))

    def _failure(self, error: grpc.aio.AioRpcError) -> CallError:
        failure = decode_failure(error)
        code, details = error.code(), error.details() or ""
        name = f"{self.whom[:1].upper()}{self.whom[1:]}"
        if code in _AWAY:
            if self.away_since_us is None:
                self.away_since_us = self._clock.now_us()
                _log.warning("%s does not answer: %s", self.whom, tls_problem(details) or details)
            said = details if failure.reason else f"{name} does not answer."
            return CallError(code, said, failure.reason, away_since_us=self.away_since_us)
        self.away_since_us = None
        if code == grpc.StatusCode.UNIMPLEMENTED and not failure.reason:
            return CallError(code, f"{name} is of another version, and knows no such call.")
        return CallError(code, details or f"{name} answered {code.name}.", failure.reason, failure.violations)


class _Line:
    """One address and the channel to it, which is opened again where certificates changed."""

    def __init__(self, address: str, channels: Channels) -> None:
        self.address = address
        self.channels = channels
        self.keeps_secrets = channels.security.has_tls or is_this_machine(address)
        self._channel: grpc.aio.Channel | None = None
        self._version: object = None
        self._closing: set[asyncio.Task[None]] = set()

    def open(self) -> grpc.aio.Channel:
        version = self.channels.version
        if self._channel is None or version is not self._version:
            if self._channel is not None:
                task = asyncio.create_task(self._channel.close(CLOSING_S))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
            self._channel, self._version = self.channels.open_aio(self.address, _OPTIONS), version
        return self._channel

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
        await asyncio.gather(*self._closing)


class _CallerChannel:
    """As much of a channel as stubs of unary calls need."""

    def __init__(self, link: Link, credential: str, timeout_s: float) -> None:
        self._link = link
        self._credential = credential
        self._timeout_s = timeout_s

    def unary_unary(self, path: str, **options: Any) -> Callable[[Any], Any]:
        def call(request: Any) -> Any:
            return self._link.call(path, options, request, self._credential, self._timeout_s)

        return call
