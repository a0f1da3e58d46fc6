"""The control service of a what-if: its use cases on a clock and a database of their own, without loops or a wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from control_service.api.fleet_codec import decode_exchange, encode_answers, encode_update
from control_service.domain.account import Account
from control_service.usecases.change_signal import ChangeSignal, Listener
from control_service.usecases.fleet.acknowledgements import Acknowledgements
from control_service.usecases.fleet.activation import Activation
from control_service.usecases.fleet.config_feed import ConfigFeed
from control_service.usecases.fleet.lease_exchange import ExchangeLeases
from control_service.usecases.fleet.node_registration import NodeRegistration
from control_service.usecases.fleet.replica_memory import ReplicaMemory
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.idempotent_call import Act, Call, EncodedResponse, IdempotentCalls
from control_service.usecases.ports import Database, Transaction
from control_service.usecases.pulse import Pulse
from control_service.usecases.resolve_credential import NO_CREDENTIALS
from control_service.usecases.upkeep.sweeper import Sweeper
from tallygate._server.clock import Clock
from tallygate.control.v1 import fleet_service_pb2 as pb

T = TypeVar("T")
_CALL = Call("what-if", "", b"")


class Control:
    """One control service, and the stream on which it tells the one node that there is."""

    def __init__(self, database: Database, clock: Clock, new_id: Callable[[], str], node: str) -> None:
        self.database = database
        self._clock = clock
        self._node = node
        self._changes = ChangeSignal()
        self._memory, pulse = ReplicaMemory.empty(clock), Pulse(database, clock)
        self._feed = ConfigFeed(database, clock, self._changes, self._memory, NO_CREDENTIALS, pulse=pulse)
        activation = Activation(database, clock, self._changes, self._memory.liveness)
        self._acknowledgements = Acknowledgements(database, clock, self._feed, activation)
        self._exchange = ExchangeLeases(database, clock, self._changes, self._memory)
        self._sweeper = Sweeper(database, clock, self._changes, self._memory.liveness, activation, pulse=pulse)
        self._calls = IdempotentCalls(database, clock, new_id, self._changes)
        self._watcher: Watcher
        self._listener: Listener
        self._commit_count = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Registers the node, and hears of all changes while the block runs."""
        await NodeRegistration(self.database, self._clock).register(self._node, 1, "what-if")
        self._watcher = self._feed.open(self._node, 1)
        with self._changes.listening() as self._listener:
            yield

    # --- what people do ----------------------------------------------------------------------------------------

    async def of_globals(self, change: Callable[[Transaction, Act], Awaitable[T]]) -> T:
        """A change of the catalogue, as a call makes it."""
        results: list[T] = []
        await self._calls.of_globals(_CALL, change, _keep_in(results))
        return results[0]

    async def of_account(self, account_id: str, change: Callable[[Transaction, Account, Act], Awaitable[T]]) -> T:
        """A change of an account, as a call makes it."""
        results: list[T] = []
        await self._calls.of_account(account_id, _CALL, change, _keep_in(results))
        return results[0]

    # --- what the node asks ------------------------------------------------------------------------------------

    async def follow(self, services: Sequence[str]) -> None:
        """The node wants to know of these services."""
        await self._feed.subscribe(self._watcher, services)

    def unfollow(self, services: Sequence[str]) -> None:
        """The node has forgotten these services."""
        self._feed.unsubscribe(self._watcher, services)

    async def exchange(self, request: pb.ExchangeLeasesRequest) -> pb.ExchangeLeasesResponse:
        """An exchange of leases."""
        return encode_answers(await self._exchange.exchange(decode_exchange(request)))

    def acknowledge(self, version: int) -> None:
        """The node has taken in what it was told up to this version."""
        self._acknowledgements.receive(self._watcher, version)

    # --- what time and changes bring about ---------------------------------------------------------------------

    async def pass_time(self) -> None:
        """Does what is due now."""
        await self._acknowledgements.flush()
        await self._sweeper.turn()

    async def updates(self) -> list[pb.WatchConfigResponse]:
        """What there is to tell the node now."""
        has_committed, self._commit_count = self._changes.commit_count != self._commit_count, self._changes.commit_count
        await self._feed.turn(await self._listener.wait() if has_committed else None)
        told: list[pb.WatchConfigResponse] = []
        while (update := await self._watcher.next(0)) is not None:
            told.append(encode_update(update, 0, self._clock.now_us()))
            if not (update.services or update.limits):
                break
        return told


def _keep_in(results: list[Any]) -> Callable[[Any], EncodedResponse]:
    def encode(result: Any) -> EncodedResponse:
        results.append(result)
        return EncodedResponse(b"")

    return encode
