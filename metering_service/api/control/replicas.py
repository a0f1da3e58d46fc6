"""Channels to the control service, of which any number of replicas may serve one database."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import grpc

from tallygate._channel import Channels
from tallygate._proxies import proxy_to
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import fleet_service_pb2_grpc

if TYPE_CHECKING:
    from tallygate.control.v1.fleet_service_pb2_grpc import FleetServiceAsyncStub

CHANNEL_OPTIONS: Final = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # How long an attempt to connect may take, whatever its name says.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]

CLOSING_S: Final = 10.0
"""Timeout of calls on a channel that was replaced."""

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager["FleetServiceAsyncStub"]]
"""Opens a line to the control service: its stub, for as long as the line is used."""


def connect_to(addresses: str, channels: Channels | None = None) -> Connect:
    """Lines to the control service at `host:port`, or at several of them with commas between, tried in turn.

    `channels`: how they are secured; by plain text where it is left out.
    """
    opened_by = channels or Channels()

    @asynccontextmanager
    async def connect() -> AsyncIterator["FleetServiceAsyncStub"]:
        replicas = _Replicas([_Replica(address, opened_by) for address in _split(addresses)])
        try:
            yield cast("FleetServiceAsyncStub", replicas)
        finally:
            await replicas.close()

    return connect


async def is_reachable(addresses: str, channels: Channels | None = None, timeout_s: float = 1.0) -> bool:
    """Whether any of the replicas takes connections; asks each for so long."""
    for address in _split(addresses):
        async with (channels or Channels()).open_aio(address) as channel:
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


class _Replica:
    """One replica, and the channel to it, which does not connect before it is used."""

    def __init__(self, address: str, channels: Channels) -> None:
        self._address = address
        self._channels = channels
        self._closing: set[asyncio.Task[None]] = set()
        self._open()

    def _open(self) -> None:
        self._version = self._channels.version
        self._channel = self._channels.open_aio(self._address, CHANNEL_OPTIONS)
        self.stub: FleetServiceAsyncStub = fleet_service_pb2_grpc.FleetServiceStub(self._channel)

    def renew(self) -> None:
        """Has a new channel with the certificates that there are now; calls on the old one may still end."""
        if self._channels.version is self._version:
            return
        closing = asyncio.create_task(self._channel.close(CLOSING_S))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._open()

    async def close(self) -> None:
        """Close at once."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(self._channel.close(), *self._closing, return_exceptions=True)


class _Replicas:
    """All of them as one stub. Whose stream has ended is left for the next one, for exchanges as well."""

    def __init__(self, replicas: Sequence[_Replica]) -> None:
        self._replicas = replicas
        self._turn = -1

    async def close(self) -> None:
        """Close all channels."""
        await asyncio.gather(*(replica.close() for replica in self._replicas))

    def WatchConfig(self) -> "grpc.aio.StreamStreamCall[pb.WatchConfigRequest, pb.WatchConfigResponse]":
        """A new stream, to the next replica."""
        self._turn = (self._turn + 1) % len(self._replicas)
        self._replicas[self._turn].renew()
        return self._replicas[self._turn].stub.WatchConfig()

    def ExchangeLeases(
        self, request: pb.ExchangeLeasesRequest, timeout: float
    ) -> "grpc.aio.UnaryUnaryCall[pb.ExchangeLeasesRequest, pb.ExchangeLeasesResponse]":
        """An exchange with the replica that has the stream."""
        return self._replicas[max(0, self._turn)].stub.ExchangeLeases(request, timeout=timeout)
