"""FleetService on the wire."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from typing_extensions import override

from control_service.api.api_key_codec import decode_keys
from control_service.api.calls import Context
from control_service.api.credential_codec import decode_credentials
from control_service.api.fleet_codec import (
    decode_exchange,
    decode_hello,
    decode_history,
    decode_leases_kept_us,
    decode_subscription,
    encode_answers,
    encode_update,
)
from control_service.domain.errors import InvalidRequestError, StorageUnavailableError
from control_service.usecases.fleet.acknowledgements import Acknowledgements
from control_service.usecases.fleet.config_feed import ConfigFeed
from control_service.usecases.fleet.lease_exchange import ExchangeLeases
from control_service.usecases.fleet.node_names import NodeNames
from control_service.usecases.fleet.node_registration import NodeRegistration, not_registered
from control_service.usecases.fleet.watcher import Watcher
from tallygate._server.clock import Clock
from tallygate._server.grpc.caller import UNCHECKED, admit_again, current_caller
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import fleet_service_pb2_grpc

HEARTBEAT_S: Final = 0.9
"""Interval between two messages when nothing changed: the contract promises at least one each second."""


CALLER_CHECK_S: Final = 0.4
"""Interval at which the caller of a stream is looked at again: within a second a revoked one hears nothing more."""


class FleetServicer(fleet_service_pb2_grpc.FleetServiceServicer):
    """Decodes, calls, encodes."""

    def __init__(
        self,
        registration: NodeRegistration,
        feed: ConfigFeed,
        acknowledgements: Acknowledgements,
        exchange: ExchangeLeases,
        *,
        names: NodeNames,
        clock: Clock,
    ) -> None:
        self._names = names
        self._registration = registration
        self._feed = feed
        self._acknowledgements = acknowledgements
        self._exchange = exchange
        self._clock = clock
        self._registered: dict[str, int] = {}
        """The greatest epoch of each node that registered with this process."""

    @override
    async def ExchangeLeases(self, request: pb.ExchangeLeasesRequest, context: Context) -> pb.ExchangeLeasesResponse:
        exchange = decode_exchange(request)
        self._names.require_exchange(current_caller().rights, exchange)
        if self._registered.get(exchange.node, 0) < exchange.epoch:
            # The database of a process that has just started may be an older copy, which only a registration notices.
            raise not_registered(exchange.node, exchange.epoch)
        return encode_answers(await self._exchange.exchange(exchange))

    @override
    async def WatchConfig(  # type: ignore[override]  # the stub knows generators only; grpc.aio takes both
        self, request_iterator: AsyncIterator[pb.WatchConfigRequest], context: Context
    ) -> None:
        # A coroutine and no generator, so that a cancelled stream cleans up at once, also during a write.
        first = await anext(request_iterator, pb.WatchConfigRequest())
        hello = decode_hello(first)
        self._names.require_hello(current_caller().rights, hello.node, hello.epoch, hello.caretaker)
        node = await self._registration.register(
            hello.node,
            hello.epoch,
            hello.metering_database_id,
            decode_history(hello),
            decode_leases_kept_us(hello),
        )
        self._registered[hello.node] = max(self._registered.get(hello.node, 0), hello.epoch)
        self._names.note_hello(hello.node, hello.epoch, hello.caretaker)
        watcher = self._feed.open(hello.node, hello.epoch)
        receiving = asyncio.create_task(self._receive_all(watcher, request_iterator))
        watching = asyncio.create_task(self._watch_caller(watcher, hello))
        try:
            while (update := await watcher.next(HEARTBEAT_S)) is not None:
                await context.write(encode_update(update, node.closed_below_epoch, self._clock.now_us()))
        finally:
            receiving.cancel()
            watching.cancel()
            self._feed.close(watcher)
            self._acknowledgements.forget(watcher)

    async def _receive_all(self, watcher: Watcher, requests: AsyncIterator[pb.WatchConfigRequest]) -> None:
        """Receives the node's messages until the node ends the stream, or sends a message that is not allowed."""
        try:
            async for request in requests:
                await self._receive(watcher, request)
        except Exception as error:  # noqa: BLE001  # handed to the stream, which raises it
            watcher.dismiss(error)
        else:
            watcher.dismiss()

    async def _watch_caller(self, watcher: Watcher, hello: pb.NodeHello) -> None:
        """Ends the stream of a caller who may not be this node any more. While the database is away nobody knows."""
        while current_caller() is not UNCHECKED:
            await asyncio.sleep(CALLER_CHECK_S)
            try:
                caller = await admit_again()
                self._names.require_hello(caller.rights, hello.node, hello.epoch, hello.caretaker)
            except StorageUnavailableError:
                continue
            except Exception as error:  # noqa: BLE001  # handed to the stream, which raises it
                watcher.dismiss(error)
                return

    async def _receive(self, watcher: Watcher, request: pb.WatchConfigRequest) -> None:
        match request.WhichOneof("message"):
            case "acknowledgement":
                self._acknowledgements.receive(watcher, request.acknowledgement.version)
            case "subscription":
                subscribe, unsubscribe = decode_subscription(request.subscription)
                follow, unfollow = decode_credentials(request.subscription)
                self._feed.unsubscribe(watcher, unsubscribe)
                self._feed.unsubscribe_credentials(watcher, unfollow)
                keys, former_keys = decode_keys(request.subscription)
                self._feed.unsubscribe_keys(watcher, former_keys.hashes, former_keys.models)
                await self._feed.subscribe_credentials(watcher, follow)
                await self._feed.subscribe_keys(watcher, keys.hashes, keys.models)
                await self._feed.subscribe(watcher, subscribe)
            case "hello":
                raise InvalidRequestError([("hello", "is said once, at the beginning of a stream")])
            case _:
                raise InvalidRequestError([("message", "must be set")])
