"""Channels to the control service, of which any number of replicas may serve one database."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import grpc

from tallygate._channel import Channels
from tallygate._proxies import proxy_to
from tallygate._wire.failures import decode_failure
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

_Call: TypeAlias = "grpc.aio.StreamStreamCall[pb.WatchConfigRequest, pb.WatchConfigResponse]"

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager["FleetServiceAsyncStub"]]
"""Opens a line to the control service: its stub, for as long as the line is used."""


def connect_to(addresses: str, channels: Channels | None = None, *, node: str = "") -> Connect:
    """Lines to the control service at `host:port`, or at several of them with commas between, tried in turn.

    `channels`: how they are secured; by plain text where it is left out. `node`: whose lines they are; nodes with
    numbers one after the other in their names begin with addresses one after the other, so that not all follow one.
    """
    opened_by, first = channels or Channels(), sum(node.encode())

    @asynccontextmanager
    async def connect() -> AsyncIterator["FleetServiceAsyncStub"]:
        replicas = _Replicas([_Replica(address, opened_by) for address in _split(addresses)], first)
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


class _Stream:
    """A stream to a replica, which knows this node once it has said anything there; as much of one as the link uses."""

    def __init__(self, call: "_Call", replicas: "_Replicas") -> None:
        self._call = call
        self._replicas = replicas
        self._is_heard = False

    async def write(self, message: pb.WatchConfigRequest) -> None:
        """Say something."""
        await self._call.write(message)

    async def read(self) -> object:
        """The next message, or the end."""
        message = await self._call.read()
        if isinstance(message, pb.WatchConfigResponse):
            self._is_heard = True
            self._replicas.hear()
        return message

    def cancel(self) -> None:
        """End it, whether or not it has ended by itself."""
        self._call.cancel()
        self._replicas.lose(was_heard=self._is_heard)


class _Replicas:
    """All of them as one stub. Whose stream has ended is left for the next one, for exchanges as well.

    A replica takes exchanges of nodes that have said hello to it, so an exchange waits for that, and one that was lost
    with its replica is made again with the next: requests that wait for a lease are not told that control is away while
    any replica is there. It is away once as many streams as there are replicas have ended without a word.
    """

    def __init__(self, replicas: Sequence[_Replica], first: int) -> None:
        self._replicas = replicas
        self._turn = first - 1
        self._unheard_count = 0
        # Set while there is nothing to wait for: a replica knows this node, or control is away.
        self._settled = asyncio.Event()

    async def close(self) -> None:
        """Close all channels."""
        await asyncio.gather(*(replica.close() for replica in self._replicas))

    def WatchConfig(self) -> "_Call":
        """A new stream, to the next replica; the one before has been cancelled."""
        self._turn += 1
        self._replica.renew()
        return cast("_Call", _Stream(self._replica.stub.WatchConfig(), self))

    async def ExchangeLeases(self, request: pb.ExchangeLeasesRequest, timeout: float) -> pb.ExchangeLeasesResponse:  # noqa: ASYNC109  # as gRPC has it
        """An exchange with the replica that has the stream. Each time that it is made again, its number is raised."""
        ends_s = asyncio.get_running_loop().time() + timeout
        await self._until_known(ends_s)
        while True:
            turn, left_s = self._turn, max(0.0, ends_s - asyncio.get_running_loop().time())
            try:
                return await self._replica.stub.ExchangeLeases(request, timeout=left_s)
            except grpc.aio.AioRpcError as error:
                if self._is_away or not _is_lost(error):
                    raise
                if turn == self._turn:
                    self._settled.clear()
                if not await self._until_known(ends_s):
                    raise
            # The one that was lost may have been taken, and no number is taken twice.
            request.exchange_number += 1

    def hear(self) -> None:
        """Something was said on the stream."""
        self._unheard_count = 0
        self._settled.set()

    def lose(self, *, was_heard: bool) -> None:
        """The stream has ended."""
        self._unheard_count += not was_heard
        if self._is_away:
            self._settled.set()
        else:
            self._settled.clear()

    @property
    def _replica(self) -> _Replica:
        return self._replicas[self._turn % len(self._replicas)]

    @property
    def _is_away(self) -> bool:
        return self._unheard_count >= len(self._replicas)

    async def _until_known(self, ends_s: float) -> bool:
        """Waits until a replica knows this node, which is so then unless control is away, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(ends_s):
                await self._settled.wait()
        return self._settled.is_set() and not self._is_away


def _is_lost(error: grpc.aio.AioRpcError) -> bool:
    """Whether a call was lost with its connection; whoever is there says why a call fails."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and not decode_failure(error).reason
