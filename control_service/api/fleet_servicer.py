"""FleetService on the wire."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from control_service.api.calls import Context
from control_service.api.fleet_codec import (
    decode_exchange,
    decode_hello,
    decode_history,
    decode_subscription,
    encode_answers,
    encode_update,
)
from control_service.domain.errors import InvalidRequestError
from control_service.usecases.fleet.acknowledgements import Acknowledgements
from control_service.usecases.fleet.config_feed import ConfigFeed
from control_service.usecases.fleet.lease_exchange import ExchangeLeases
from control_service.usecases.fleet.node_registration import Greeting, not_greeted
from control_service.usecases.fleet.watcher import Watcher
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import fleet_service_pb2_grpc

HEARTBEAT_S: Final = 0.9
"""Nodes are promised a message at least every second."""


class FleetServicer(fleet_service_pb2_grpc.FleetServiceServicer):
    """Decodes, calls, encodes."""

    def __init__(
        self, greeting: Greeting, feed: ConfigFeed, acknowledgements: Acknowledgements, exchange: ExchangeLeases
    ) -> None:
        self._greeting = greeting
        self._feed = feed
        self._acknowledgements = acknowledgements
        self._exchange = exchange
        self._greeted: dict[str, int] = {}
        """The last epoch of each node that has said hello to this process."""

    async def ExchangeLeases(self, request: pb.ExchangeLeasesRequest, context: Context) -> pb.ExchangeLeasesResponse:
        """See the contract."""
        asked = decode_exchange(request)
        if self._greeted.get(asked.node, 0) < asked.epoch:
            # A process that has just started may be over an older copy of the database: hellos say so, of all nodes.
            raise not_greeted(asked.node, asked.epoch)
        return encode_answers(await self._exchange.exchange(asked))

    async def WatchConfig(  # type: ignore[override]  # the stub knows generators only; grpc.aio takes both
        self, request_iterator: AsyncIterator[pb.WatchConfigRequest], context: Context
    ) -> None:
        """See the contract. Written as a coroutine, so that a cancelled stream cleans up at once, also amid a write."""
        first = await anext(request_iterator, pb.WatchConfigRequest())
        hello = decode_hello(first)
        node = await self._greeting.greet(hello.node, hello.epoch, hello.metering_database_id, decode_history(hello))
        self._greeted[hello.node] = max(self._greeted.get(hello.node, 0), hello.epoch)
        watcher = self._feed.open(hello.node, hello.epoch)
        listening = asyncio.create_task(self._listen(watcher, request_iterator))
        try:
            while (update := await watcher.next(HEARTBEAT_S)) is not None:
                await context.write(encode_update(update, node.closed_below_epoch))
        finally:
            listening.cancel()
            self._feed.close(watcher)
            self._acknowledgements.forget(watcher)

    async def _listen(self, watcher: Watcher, requests: AsyncIterator[pb.WatchConfigRequest]) -> None:
        """Takes in what the node says, until it says no more or something that it must not."""
        try:
            async for request in requests:
                await self._hear(watcher, request)
        except Exception as error:  # noqa: BLE001  # handed to the stream, which raises it
            watcher.dismiss(error)
        else:
            watcher.dismiss()

    async def _hear(self, watcher: Watcher, request: pb.WatchConfigRequest) -> None:
        match request.WhichOneof("message"):
            case "acknowledgement":
                self._acknowledgements.heard(watcher, request.acknowledgement.version)
            case "subscription":
                subscribe, unsubscribe = decode_subscription(request.subscription)
                self._feed.unsubscribe(watcher, unsubscribe)
                await self._feed.subscribe(watcher, subscribe)
            case "hello":
                raise InvalidRequestError([("hello", "is said once, at the beginning of a stream")])
            case _:
                raise InvalidRequestError([("message", "must be set")])
