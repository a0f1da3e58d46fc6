"""The metering node of a what-if: its use cases on a clock of its own, and a control service that answers at once.

Nothing is written: what a group commit would have written is handed to whoever counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from metering_service.api.control.codec import decode_answer, decode_config, encode_statement
from metering_service.api.control.limit_feed import replenish_limit_pots, take_all_limits
from metering_service.domain.key_ring import SECRET_BYTES, KeyRing, ResumeKey
from metering_service.domain.records import DenialKey, RequestRecord
from metering_service.domain.request import Request
from metering_service.usecases.commits.checkpoints import Checkpoints
from metering_service.usecases.commits.write_buffer import WriteBuffer
from metering_service.usecases.leases.config_intake import forget_idle, take_config
from metering_service.usecases.leases.lease_keeper import LeaseKeeper
from metering_service.usecases.leases.limit_intake import forget_limits
from metering_service.usecases.lookups.parked import expire
from metering_service.usecases.node import Node
from metering_service.usecases.reports.finish import forget_finished
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.state.service_state import ServiceState
from tallygate._server.clock import Clock
from tallygate._wire.times import decode_ns
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.whatif.control import Control

NODE = "what-if"
RENEWAL_NS = 2_000_000_000
"""Interval at which leases are renewed, though nothing changed."""


class Books(Protocol):
    """Where records go, in place of a metering database."""

    def add(self, record: RequestRecord) -> None:
        """A request was booked."""

    def add_denials(self, key: DenialKey, count: int) -> None:
        """So many requests were denied in one minute for one reason."""


class MeteringNode:
    """One node, and its line to control."""

    def __init__(self, control: Control, clock: Clock, new_id: Callable[[], str], books: Books) -> None:
        settings = NodeSettings()
        ring = KeyRing()
        ring.take([ResumeKey(1, clock.now_us(), bytes(SECRET_BYTES))], clock.monotonic_ns())
        self._control = control
        self._clock = clock
        self._books = books
        self._buffer = WriteBuffer(clock=clock, node=NODE, epoch=1, settings=settings)
        self._work = _Work()
        self.node = Node(
            name=NODE,
            epoch=1,
            clock=clock,
            new_id=new_id,
            buffer=self._buffer,
            checkpoints=Checkpoints(self._buffer),
            key_ring=ring,
            settings=settings,
            work=self._work,
        )
        self.node.control_answers = True
        self._keeper = LeaseKeeper(self.node)
        self._exchange_number = 0
        self._commit_no = 0
        self._version = 0
        self._renewed_ns = -RENEWAL_NS

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is on lease and nothing waits, so that time alone changes nothing here."""
        return not self.node.lease_index.holders and not self._work.is_wanted

    async def turn(self, *, time_passed: bool) -> None:
        """Commits, exchanges leases, takes in what control has to tell, and answers who has waited long enough.

        `time_passed`: so much that control should look for what is due.
        """
        if self._work.asked:
            asked, self._work.asked = self._work.asked, []
            await self._control.follow(asked)
        if self._work.forgotten:
            forgotten, self._work.forgotten = self._work.forgotten, []
            self._control.unfollow(forgotten)
        self.commit()
        await self._exchange()
        if time_passed:
            await self._control.pass_time()
        for message in await self._control.updates():
            self._take(message)
        expire(self.node)

    def keep_house(self) -> None:
        """Forgets what is old."""
        forget_finished(self.node)
        forget_idle(self.node)
        forget_limits(self.node)

    def commit(self) -> None:
        """Hands over what was booked since the last commit."""
        pending = self._buffer.begin_commit()
        if pending is None:
            return
        self._commit_no += 1
        for record in pending.requests.values():
            self._books.add(record)
        for key, count in pending.denials.items():
            self._books.add_denials(key, count)
        self._buffer.end_commit()

    @property
    def wants_turn(self) -> bool:
        """Whether a turn should not wait."""
        return self._work.is_wanted or bool(self._work.asked)

    async def _exchange(self) -> None:
        asked_ns = self._clock.monotonic_ns()
        self._work.is_wanted = False
        said = self._keeper.statements()
        if not said and asked_ns - self._renewed_ns < RENEWAL_NS:
            return
        self._exchange_number += 1
        request = pb.ExchangeLeasesRequest(
            node=NODE,
            epoch=1,
            exchange_number=self._exchange_number,
            acknowledged_version=self._version,
            commit_no=self._commit_no,
            statements=[encode_statement(statement) for statement in said],
        )
        response = await self._control.exchange(request)
        self._renewed_ns = asked_ns
        answers = [decode_answer(answer) for answer in response.answers]
        self._keeper.answered(said, answers, asked_ns, decode_ns(response.valid_for))
        self._work.is_wanted = self._work.is_wanted or self._keeper.wants_more()

    def _take(self, message: pb.WatchConfigResponse) -> None:
        take_all_limits(self.node, message)
        for service in message.services:
            take_config(self.node, decode_config(service))
        if message.version > self._version:
            self._version = message.version
            self._control.acknowledge(self._version)
        if message.recalled_lease_ids:
            self._keeper.recall(message.recalled_lease_ids)
            self._work.is_wanted = True
        if message.replenished_service_uids:
            self._keeper.replenish(message.replenished_service_uids)
        replenish_limit_pots(self._keeper, message)


class _Work:
    """What decisions ask of the world outside, until the next turn. Ids are all new, and every request ends here."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.forgotten: list[str] = []
        self.is_wanted = False

    def subscribe(self, service: str) -> None:
        self.asked.append(service)

    def unsubscribe(self, service: str) -> None:
        self.forgotten.append(service)

    def exchange(self) -> None:
        self.is_wanted = True

    def query_reuse(self, service: ServiceState, request: Request) -> None:
        """Nobody uses an id twice."""

    def follow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        raise NotImplementedError

    def unfollow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        raise NotImplementedError

    def query_request(self, service: ServiceState, request_id: str) -> None:
        raise NotImplementedError

    def query_request_later(self, service: ServiceState, request_id: str, delay_ns: int) -> None:
        raise NotImplementedError

    def query_successor(self, service: ServiceState, request: Request) -> None:
        raise NotImplementedError
