"""Tokens in the metadata of each call, on channels of both kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import grpc

Metadata = Callable[[], tuple[tuple[str, str], ...]]
"""Gives what is sent with a call, as it is now."""


class TokenChannel(grpc.aio.Channel):
    """A channel for asyncio whose calls have further metadata.

    gRPC's own interceptors would do the same, and stand between a stream and each of its messages.
    """

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        self._channel = channel
        self._metadata = metadata

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._channel.__aexit__(*raised)  # type: ignore[arg-type]  # what Python hands over

    async def close(self, grace: float | None = None) -> None:
        """Close, once calls have ended or that many seconds have passed."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the connection."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state of the connection is another one."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the connection is made."""
        await self._channel.channel_ready()

    def unary_unary(self, *described: Any, **options: Any) -> Any:
        """A method with one request and one answer."""
        return self._with_metadata(self._channel.unary_unary(*described, **options))

    def unary_stream(self, *described: Any, **options: Any) -> Any:
        """A method with one request and many answers."""
        return self._with_metadata(self._channel.unary_stream(*described, **options))

    def stream_unary(self, *described: Any, **options: Any) -> Any:
        """A method with many requests and one answer."""
        return self._with_metadata(self._channel.stream_unary(*described, **options))

    def stream_stream(self, *described: Any, **options: Any) -> Any:
        """A method with many requests and many answers."""
        return self._with_metadata(self._channel.stream_stream(*described, **options))

    def _with_metadata(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, metadata: Any = None, **options: Any) -> Any:
            return method(*arguments, metadata=(*(metadata or ()), *self._metadata()), **options)

        return call


class _CallDetails(NamedTuple):
    """A call as interceptors hand it on."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _TokenInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_metadata(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_metadata(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(self._with_metadata(client_call_details), request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(self._with_metadata(client_call_details), request_iterator)

    def _with_metadata(self, details: Any) -> _CallDetails:
        metadata = [*(details.metadata or ()), *self._metadata()]
        further = (details.credentials, details.wait_for_ready, details.compression)
        return _CallDetails(details.method, details.timeout, metadata, *further)


def token_interceptor(metadata: Metadata) -> Any:
    """An interceptor, for a channel for threads, that adds metadata to each call."""
    return _TokenInterceptor(metadata)
