"""The link to the control service: configurations come down, leases go back and forth."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final

import grpc
import structlog

from metering_service.api.control.codec import (
    decode_answer,
    decode_config,
    encode_hello,
    encode_refused,
    encode_statement,
)
from metering_service.api.control.credential_codec import decode_credential_config
from metering_service.api.control.key_feed import take_keys
from metering_service.api.control.limit_feed import replenish_limit_pots, take_all_limits
from metering_service.api.control.replicas import Connect
from metering_service.api.control.subscriptions import (
    following,
    following_credentials,
    following_keys,
    gather,
    parts,
    unfollowing,
    unfollowing_credentials,
    unfollowing_keys,
)
from metering_service.domain.credential import Credential
from metering_service.domain.errors import NodeFencedError, StorageUnavailableError
from metering_service.domain.lease import LeaseStatement
from metering_service.domain.service import ServiceConfig
from metering_service.usecases.access.credentials import Credentials
from metering_service.usecases.commits.group_commit import GroupCommitter
from metering_service.usecases.leases.config_intake import take_config
from metering_service.usecases.leases.lease_keeper import LeaseKeeper
from metering_service.usecases.node import Node
from metering_service.usecases.ports import Recorder
from tallygate._access.refusals import RefusalCounts
from tallygate._server.metrics.histogram import Histogram
from tallygate._server.outage import Outage
from tallygate._tls_failures import tls_problem
from tallygate._wire.failures import decode_failure
from tallygate._wire.times import decode_ns
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import fleet_service_pb2_grpc

EXCHANGE_DEADLINE_S: Final = 2.0
"""Timeout of one lease exchange."""
EXCHANGE_INTERVAL_S: Final = 0.2
"""Interval of lease exchanges while nothing waits."""
RENEWAL_INTERVAL_NS: Final = 2_000_000_000
"""Interval at which leases are renewed, though nothing changed."""
ASK_AGAIN_S: Final = 0.005
"""Interval of exchanges while a request waits for a lease."""
SPEAK_INTERVAL_S: Final = 0.003
"""Minimum interval between two times that something is said on the feed: what comes up meanwhile goes together."""
RECONNECT_FIRST_S: Final = 0.05
"""First delay before the link is opened again."""
RECONNECT_MAX_S: Final = 1.0
"""Maximum of that delay, which doubles."""
SILENCE_MAX_S: Final = 3.0
"""Timeout of a feed on which nothing comes."""
REFUSED_CALLS_PER_EXCHANGE: Final = 100
"""Maximum of counts of refused calls in one exchange: what control takes."""
STATEMENTS_PER_EXCHANGE: Final = 500
"""Maximum of statements in one exchange: more would keep control from others for half a second."""

FENCED: Final = "NODE_FENCED"
"""Reason by which control refuses a node whose epoch is over."""
FATAL_REASONS: Final = frozenset({FENCED, "METERING_DATABASE_MISMATCH"})
"""Reasons after which this node must not go on."""

_log = structlog.get_logger(__name__)


class ControlLink:
    """Runs the WatchConfig stream and the lease exchanges of one node. `caretaker`: the node that takes it over."""

    def __init__(
        self, connect: Connect, storage: Recorder, committer: GroupCommitter, *, database_id: str, caretaker: str = ""
    ) -> None:
        self._connect = connect
        self._storage = storage
        self._committer = committer
        self._database_id = database_id
        self._caretaker = caretaker
        self._outage = Outage("control")
        self._names: set[str] = set()
        self._untold: set[str] = set()
        self._outbox: asyncio.Queue[pb.WatchConfigRequest] | None = None
        self._wanted = asyncio.Event()
        self._exchange_number = 0
        self._version = 0
        self._last_renewal_ns = 0
        self.exchange_durations = Histogram()
        """Of exchanges that were answered."""
        self.failed_exchanges = 0
        self.up_to_date = asyncio.Event()
        self.is_connected = False
        """Whether control has said something on the stream that is open."""
        self.told_settled = False
        """Whether control knows that all leases of earlier epochs are settled."""
        self.proxies: Sequence[str] = ()
        """Proxies on the way to control: where it is lost, it may be for one of them."""
        self.refusals = RefusalCounts()
        """Calls that this node has refused, until control was told."""
        self.credentials: Credentials | None = None
        """What callers have shown, at a node that has any."""
        self.on_lost: Callable[[list[tuple[str, int]]], None] = lambda _: None

    # --- work of the use cases --------------------------------------------------------------------------------

    def subscribe(self, service: str) -> None:
        """Follow a service from now on."""
        self._names.add(service)
        self._say(following([service]))

    def unsubscribe(self, service: str) -> None:
        """Follow it no longer."""
        self._names.discard(service)
        self._untold.discard(service)
        self._say(unfollowing([service]))

    def follow_credentials(self, credentials: Sequence[Credential]) -> None:
        """Follow these credentials from now on."""
        self._say(following_credentials(credentials))

    def unfollow_credentials(self, credentials: Sequence[Credential]) -> None:
        """Follow them no longer."""
        self._say(unfollowing_credentials(credentials))

    def follow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        """Follow these API keys and models from now on."""
        self._say(following_keys(keys, models))

    def unfollow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        """Follow them no longer."""
        self._say(unfollowing_keys(keys, models))

    def exchange(self) -> None:
        """Exchange leases at once."""
        self._wanted.set()

    # --- the two loops -------------------------------------------------------------------------------------------

    async def run(self, node: Node, keeper: LeaseKeeper) -> None:
        """Keep the line up until cancelled.

        Raises:
            NodeFencedError: control knows a later epoch.
            grpc.aio.AioRpcError: control refused this node for good.
        """
        async with self._connect() as stub:
            loops = {
                asyncio.create_task(self._watch(stub, node, keeper)),
                asyncio.create_task(self._exchange(stub, node, keeper)),
            }
            try:
                done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
                for loop in done:
                    loop.result()
            except grpc.aio.AioRpcError as error:
                if decode_failure(error).reason == FENCED:
                    raise NodeFencedError(error.details()) from error
                raise
            finally:
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)

    async def _watch(
        self, stub: "fleet_service_pb2_grpc.FleetServiceAsyncStub", node: Node, keeper: LeaseKeeper
    ) -> None:
        delay_s = RECONNECT_FIRST_S
        while True:
            was_heard = False
            try:
                async for message in self._messages(stub, node, keeper):
                    delay_s, was_heard = RECONNECT_FIRST_S, True
                    self._take(message, node, keeper)
                    self.is_connected = True
                    self._outage.answered("configuration")
                if was_heard:
                    continue  # A replica that stops has said so: the next one is asked at once.
            except grpc.aio.AioRpcError as error:
                if decode_failure(error).reason in FATAL_REASONS:
                    raise
                self._outage.failed("configuration", **self._problem(error))
            except TimeoutError:
                self._outage.failed("configuration", problem=f"nothing was heard of it for {SILENCE_MAX_S:g} s")
            except StorageUnavailableError as error:
                _log.debug("no_hello", problem=str(error))
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, RECONNECT_MAX_S)

    async def _messages(
        self, stub: "fleet_service_pb2_grpc.FleetServiceAsyncStub", node: Node, keeper: LeaseKeeper
    ) -> AsyncIterator[pb.WatchConfigResponse]:
        # What is said from now on goes after the names below; what was said before is in them.
        outbox = self._outbox = asyncio.Queue[pb.WatchConfigRequest]()
        self._untold = set(self._names)
        names = sorted(self._names)
        credentials = self.credentials.begin_stream() if self.credentials is not None else []
        keys, models = node.keys.begin_stream()
        call = stub.WatchConfig()
        try:
            history = await self._storage.history(node.name)
            kept_ns = keeper.kept_until_ns - node.clock.monotonic_ns()
            hello = encode_hello(
                node.name,
                node.epoch,
                self._database_id,
                history,
                caretaker=self._caretaker,
                leases_kept_ns=kept_ns,
            )
            # A stream that has been refused takes no more: the first read says why.
            with suppress(asyncio.InvalidStateError):
                await call.write(pb.WatchConfigRequest(hello=hello))
                for some_credentials in parts(credentials):
                    await call.write(following_credentials(some_credentials))
                for some_keys in parts(keys):
                    await call.write(following_keys(some_keys, ()))
                for some_models in parts(models):
                    await call.write(following_keys((), some_models))
                for some_names in parts(names):
                    await call.write(following(some_names))
            sender = asyncio.create_task(self._send(call, outbox))
            try:
                while True:
                    async with asyncio.timeout(SILENCE_MAX_S):
                        message = await call.read()
                    if not isinstance(message, pb.WatchConfigResponse):
                        return
                    yield message
            finally:
                sender.cancel()
        finally:
            self._outbox = None
            self.is_connected = False
            if self.credentials is not None:
                self.credentials.end_stream()
            call.cancel()

    def _say(self, message: pb.WatchConfigRequest) -> None:
        """Send something, if there is a stream; a new one begins with all the names anyway."""
        if self._outbox is not None:
            self._outbox.put_nowait(message)

    async def _send(
        self,
        call: "grpc.aio.StreamStreamCall[pb.WatchConfigRequest, pb.WatchConfigResponse]",
        outbox: asyncio.Queue[pb.WatchConfigRequest],
    ) -> None:
        try:
            while True:
                said = [await outbox.get()]
                while not outbox.empty():
                    said.append(outbox.get_nowait())
                for message in gather(said):
                    await call.write(message)
                await asyncio.sleep(SPEAK_INTERVAL_S)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # The reader sees the same break, and its reason.

    def _take(self, message: pb.WatchConfigResponse, node: Node, keeper: LeaseKeeper) -> None:
        keeper.closed_below_epoch = max(keeper.closed_below_epoch, message.leases_closed_below_epoch)
        self._committer.closed_below_epoch = keeper.closed_below_epoch
        if self.credentials is not None:
            self.credentials.hear()
            for credential in message.credentials:
                self.credentials.take(decode_credential_config(credential))
        take_all_limits(node, message)
        for service in message.services:
            config: ServiceConfig = decode_config(service)
            take_config(node, config)
            self._untold.discard(config.name)
        take_keys(node, message)
        # On a new stream nothing is acknowledged while any name may still have an older configuration here.
        if not self._untold:
            self._version = max(self._version, message.version)
            acknowledgement = pb.ConfigAcknowledgement(version=self._version)
            self._say(pb.WatchConfigRequest(acknowledgement=acknowledgement))
            if not self.up_to_date.is_set():
                # No exchange was asked for yet, so none has failed: the first one that comes waits for its answer.
                node.control_answers = True
                self.up_to_date.set()
        if message.lost_nodes:
            self.on_lost([(lost.node, lost.epoch) for lost in message.lost_nodes])
        if message.recalled_lease_ids:
            keeper.recall(message.recalled_lease_ids)
            self._wanted.set()
        if message.replenished_service_uids:
            keeper.replenish(message.replenished_service_uids)
        replenish_limit_pots(keeper, message)

    async def _exchange(
        self, stub: "fleet_service_pb2_grpc.FleetServiceAsyncStub", node: Node, keeper: LeaseKeeper
    ) -> None:
        await self.up_to_date.wait()
        delay_s = RECONNECT_FIRST_S
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EXCHANGE_INTERVAL_S):
                    await self._wanted.wait()
            self._wanted.clear()
            was_reached = node.control_answers
            if await self._exchange_now(stub, node, keeper):
                if was_reached:
                    delay_s = RECONNECT_FIRST_S
                if keeper.wants_more():
                    self._wanted.set()
                    await asyncio.sleep(ASK_AGAIN_S)
            else:
                # No request is helped by more exchanges that fail.
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, EXCHANGE_INTERVAL_S)
                self._wanted.set()

    async def _exchange_now(
        self, stub: "fleet_service_pb2_grpc.FleetServiceAsyncStub", node: Node, keeper: LeaseKeeper
    ) -> bool:
        """Exchange what there is to say, or a part of it; whether control was reached.

        Where the last one failed, this one only finds out whether control is back: to put together what all leases have
        to say takes time, and the decisions of a node that is cut off should not wait for it again and again.
        """
        asked_ns = node.clock.monotonic_ns()
        was_reached = node.control_answers
        to_say = keeper.statements() if was_reached else []
        is_too_much = len(to_say) > STATEMENTS_PER_EXCHANGE
        said = _first(to_say, STATEMENTS_PER_EXCHANGE) if is_too_much else to_say
        settled_below_epoch = keeper.settled_below_epoch
        settles = settled_below_epoch > 0 and not self.told_settled
        refused = self.refusals.untold(REFUSED_CALLS_PER_EXCHANGE)
        is_renewed = asked_ns - self._last_renewal_ns < RENEWAL_INTERVAL_NS
        if was_reached and is_renewed and not (said or settles or refused):
            return True
        self._exchange_number += 1
        request = pb.ExchangeLeasesRequest(
            node=node.name,
            epoch=node.epoch,
            exchange_number=self._exchange_number,
            acknowledged_version=self._version,
            settled_below_epoch=settled_below_epoch,
            answered_exchange_number=self._committer.exchange_answered,
            commit_no=self._committer.commit_no,
            statements=[encode_statement(statement) for statement in said],
            refused_calls=[encode_refused(calls) for calls in refused],
        )
        try:
            response = await stub.ExchangeLeases(request, timeout=EXCHANGE_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            if decode_failure(error).reason in FATAL_REASONS:
                raise
            self._outage.failed("leases", **self._problem(error))
            self.failed_exchanges += 1
            node.control_answers = False
            return False
        finally:
            self._exchange_number = request.exchange_number
        self._outage.answered("leases")
        node.control_answers = True
        self._committer.exchange_answered = max(self._committer.exchange_answered, request.exchange_number)
        valid_for_ns = decode_ns(response.valid_for)
        self._last_renewal_ns = asked_ns
        self.exchange_durations.observe(node.clock.monotonic_ns() - asked_ns)
        self.refusals.tell(refused)
        self.told_settled = self.told_settled or settled_below_epoch > 0
        keeper.answered(said, [decode_answer(answer) for answer in response.answers], asked_ns, valid_for_ns)
        if is_too_much or not was_reached:
            # The rest, or all of it.
            self._wanted.set()
        return True

    def _problem(self, error: grpc.aio.AioRpcError) -> dict[str, object]:
        """What a log says of a failed call."""
        problem: dict[str, object] = {"code": error.code().name, "problem": error.details()}
        if reason := decode_failure(error).reason:
            problem["reason"] = reason
        if tls := tls_problem(error.details() or ""):
            problem["hint"] = f"The control service {tls}."
        return problem | {"proxies": self.proxies} if self.proxies else problem


def _first(said: Sequence[LeaseStatement], most: int) -> list[LeaseStatement]:
    """Statements that fit: first those that requests wait for, but at least half of the room for the others."""
    waited_for = [statement for statement in said if statement.needed_units]
    others = [statement for statement in said if not statement.needed_units]
    first = waited_for[: max(most // 2, most - len(others))]
    return [*first, *others[: most - len(first)]]
