"""A metering node put together, without a server in front of it: its parts, its work, its leaving."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from metering_service.api.control.link import ControlLink
from metering_service.api.control.replicas import Connect
from metering_service.usecases.access.credentials import Credentials
from metering_service.usecases.commits.checkpoints import Checkpoints
from metering_service.usecases.commits.group_commit import GroupCommitter
from metering_service.usecases.commits.write_buffer import WriteBuffer
from metering_service.usecases.leases.config_intake import forget_idle
from metering_service.usecases.leases.key_intake import expire_keys
from metering_service.usecases.leases.lease_keeper import LeaseKeeper
from metering_service.usecases.leases.limit_intake import forget_limits
from metering_service.usecases.lookups.lookups import WorkRunner, every, together
from metering_service.usecases.lookups.parked import expire, unauthorised_committed
from metering_service.usecases.lookups.resume_keys import ResumeKeys
from metering_service.usecases.node import Node
from metering_service.usecases.ports import Recorder
from metering_service.usecases.reports.finish import forget_finished
from metering_service.usecases.reports.timeouts import check_silent
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.upkeep.crash_recovery import CrashRecovery
from tallygate._server.clock import Clock

EXPIRE_INTERVAL_S = 0.02
"""Interval at which reports that have waited long enough are answered, while any wait."""
ENDS_INTERVAL_S: Final = 0.1
"""Interval at which is looked for reports that wait, for callers who have waited long enough, and for credentials and
keys that have expired. No report waits for less."""
HOUSEKEEPING_INTERVAL_S: Final = 1.0
"""Interval of housekeeping: silent requests, finished ones, idle services."""
SETTLE_S: Final = 5.0
"""Timeout of each step of leaving."""
WITHOUT_CONTROL_S: Final = 1.0
"""Timeout of giving leases back while control does not answer: the next epoch, or who takes this node over, does it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Assembly:
    """One epoch of one node."""

    node: Node
    storage: Recorder
    link: ControlLink
    keeper: LeaseKeeper
    committer: GroupCommitter
    recovery: CrashRecovery
    runner: WorkRunner
    credentials: Credentials
    keys: ResumeKeys
    """Of the process, not of the epoch: who runs it keeps them up to date."""

    async def work(self) -> None:
        """Do all that a node does by itself, until cancelled.

        Raises:
            NodeFencedError: another epoch has taken over.
            grpc.aio.AioRpcError: the control service refused this node for good.
        """
        node = self.node
        await together(
            self.link.run(node, self.keeper),
            self.committer.run(),
            self._expire_waits(),
            every(ENDS_INTERVAL_S, self._expire_credentials),
            every(HOUSEKEEPING_INTERVAL_S, self._keep_house),
            self.recovery.run(),
        )

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left of earlier epochs, and control knows it."""
        is_told = self.link.told_settled and self.keeper.all_closed and self.node.checkpoints.idle
        return is_told and not self.recovery.has_rechecks

    async def leave(self) -> None:
        """Once no stream is left, while `work` goes on: commit, and give back all but what running requests hold.

        They go on elsewhere, so how far they got on their grants from here is not known yet: this node's next epoch, or
        the node that takes it over, books them once it is, and checks again what timed out.
        """
        await _until(lambda: self.node.checkpoints.idle, "booked requests that are not committed")
        self.keeper.close_all()
        await _until(self._all_given_back, "leases that are not returned", self._give_back_s)
        await _until(lambda: self.node.checkpoints.idle, "closed leases that are not recorded")

    async def _expire_waits(self) -> None:
        node = self.node
        while True:
            await asyncio.sleep(EXPIRE_INTERVAL_S if node.waiting or node.keys.choosing else ENDS_INTERVAL_S)
            expire(node)

    def _expire_credentials(self) -> None:
        self.credentials.keep_house()
        expire_keys(self.node)

    def _keep_house(self) -> None:
        check_silent(self.node)
        forget_finished(self.node)
        forget_idle(self.node)
        self.node.keys.forget_idle()
        forget_limits(self.node)

    def _give_back_s(self) -> float:
        return SETTLE_S if self.node.control_answers else WITHOUT_CONTROL_S

    def _all_given_back(self) -> bool:
        self.link.exchange()
        return self.keeper.all_given_back


async def put_together(
    name: str,
    epoch: int,
    storage: Recorder,
    connect: Connect,
    keys: ResumeKeys,
    *,
    clock: Clock,
    new_id: Callable[[], str],
    settings: NodeSettings,
    caretaker: str = "",
) -> Assembly:
    """An epoch of a node that was begun in the database, by `caretaker` if it is another node; `keys` were read.

    Raises:
        StorageUnavailableError: the database fails.
    """
    buffer = WriteBuffer(clock=clock, node=name, epoch=epoch, settings=settings)
    checkpoints = Checkpoints(buffer)
    committer = GroupCommitter(buffer, checkpoints, storage, node=name, epoch=epoch, settings=settings)
    link = ControlLink(connect, storage, committer, database_id=await storage.database_id(), caretaker=caretaker)
    credentials = link.credentials = Credentials(clock, settings, link)
    runner = WorkRunner(link, storage, keys, settings)
    node = Node(
        name=name,
        epoch=epoch,
        clock=clock,
        new_id=new_id,
        buffer=buffer,
        checkpoints=checkpoints,
        key_ring=keys.ring,
        settings=settings,
        work=runner,
    )
    runner.node = node
    buffer.on_unauthorised = partial(unauthorised_committed, node)
    keeper = LeaseKeeper(node)
    recovery = CrashRecovery(node, storage, keeper)
    await recovery.find_left()
    return Assembly(node, storage, link, keeper, committer, recovery, runner, credentials, keys)


async def _until(condition: Callable[[], bool], what: str, timeout_s: Callable[[], float] = lambda: SETTLE_S) -> None:
    """Wait, but not for ever: what is left is booked by the next epoch of this node."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        if loop.time() - began > timeout_s():
            _log.warning("left_behind", what=what)
            return
        await asyncio.sleep(0.02)
