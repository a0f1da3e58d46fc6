"""Channels to the control service, of which any number of replicas may serve one database."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import grpc

from tallygate._proxies import channel_options, proxy_to
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import fleet_service_pb2_grpc

if TYPE_CHECKING:
    from tallygate.control.v1.fleet_service_pb2_grpc import FleetServiceAsyncStub

CHANNEL_OPTIONS: Final = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager["FleetServiceAsyncStub"]]
"""Opens a line to the control service: its stub, for as long as the line is used."""


def connect_to(addresses: str) -> Connect:
    """Lines to the control service at `host:port`, or at several of them with commas between, tried in turn."""

    @asynccontextmanager
    async def connect() -> AsyncIterator["FleetServiceAsyncStub"]:
        async with AsyncExitStack() as stack:
            # A channel that is not used does not connect.
            channels = [
                await stack.enter_async_context(
                    grpc.aio.insecure_channel(address, options=[*CHANNEL_OPTIONS, *channel_options(address)])
                )
                for address in _split(addresses)
            ]
            replicas = _Replicas([fleet_service_pb2_grpc.FleetServiceStub(channel) for channel in channels])
            yield cast("FleetServiceAsyncStub", replicas)

    return connect


async def is_reachable(addresses: str, timeout_s: float = 1.0) -> bool:
    """Whether any of the replicas takes connections; asks each for so long."""
    for address in _split(addresses):
        async with grpc.aio.insecure_channel(address, options=channel_options(address)) as channel:
            try:
                async with asyncio.timeout(timeout_s):
                    await channel.channel_ready()
            except TimeoutError:
                continue
            return True
    return False


def proxies_to(addresses: str) -> list[str]:
    """The proxies that are taken to any of the replicas, as `ADDRESS VARIABLE=VALUE`."""
    return [f"{address} {proxy}" for address in _split(addresses) if (proxy := proxy_to(address))]


def _split(addresses: str) -> list[str]:
    return [address.strip() for address in addresses.split(",")]


class _Replicas:
    """All of them as one stub. Whose stream has ended is left for the next one, for exchanges as well."""

    def __init__(self, stubs: Sequence["FleetServiceAsyncStub"]) -> None:
        self._stubs = stubs
        self._turn = -1

    def WatchConfig(self) -> "grpc.aio.StreamStreamCall[pb.WatchConfigRequest, pb.WatchConfigResponse]":
        """A new stream, to the next replica."""
        self._turn = (self._turn + 1) % len(self._stubs)
        return self._stubs[self._turn].WatchConfig()

    def ExchangeLeases(
        self, request: pb.ExchangeLeasesRequest, timeout: float
    ) -> "grpc.aio.UnaryUnaryCall[pb.ExchangeLeasesRequest, pb.ExchangeLeasesResponse]":
        """An exchange with the replica that has the stream."""
        return self._stubs[max(0, self._turn)].ExchangeLeases(request, timeout=timeout)
