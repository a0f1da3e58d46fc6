"""The takeover of lost nodes: another node raises their epoch, which fences them, and settles what they left behind.

Lost is who does not commit any more, and whom control names: cut off from control a node may still write, but its
leases have lapsed, but for services that go on in an outage, and its clients are better off elsewhere.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import grpc
import structlog

from metering_service.api.control.replicas import Connect
from metering_service.assembly import Assembly, put_together
from metering_service.domain.errors import NodeFencedError, StorageUnavailableError
from metering_service.domain.records import Registration, caretaker_of
from metering_service.usecases.lookups.resume_keys import ResumeKeys
from metering_service.usecases.ports import Recorder
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.upkeep.silent_nodes import SilenceWatch
from tallygate._server.clock import Clock

POLL_INTERVAL_S: Final = 2.0
"""Interval at which other nodes' rows are polled."""
END_INTERVAL_S: Final = 0.2
"""Interval at which a takeover checks whether it has ended."""
UNHEARD_NS: Final = 45_000_000_000
"""A node that has just started again is about to say hello, or control refuses it until people have put things right.

It has the time to settle what its last epoch left; after that, somebody else may be heard where it is not.
"""

_log = structlog.get_logger(__name__)


class Caretaking:
    """Runs beside a node. `holder`: this process, as it is known to the database."""

    def __init__(
        self,
        name: str,
        holder: str,
        storage: Recorder,
        connect: Connect,
        keys: ResumeKeys,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        settings: NodeSettings,
    ) -> None:
        self._name = name
        self._holder = holder
        self._storage = storage
        self._connect = connect
        self._keys = keys
        self._clock = clock
        self._new_id = new_id
        self._settings = settings
        self._named: dict[str, int] = {}
        self._unheard: dict[str, tuple[int, int]] = {}
        self._wards: dict[str, asyncio.Task[None]] = {}

    def name_lost(self, nodes: Sequence[tuple[str, int]]) -> None:
        """Control has not heard from these (node, epoch) for longer than leases hold."""
        self._named.update(nodes)

    async def run(self) -> None:
        """Look, and take over, until cancelled."""
        watch = SilenceWatch()
        try:
            while True:
                await asyncio.sleep(POLL_INTERVAL_S)
                try:
                    await self._poll(watch)
                except StorageUnavailableError:
                    watch.reset()
        finally:
            for ward in self._wards.values():
                ward.cancel()
            await asyncio.gather(*self._wards.values(), return_exceptions=True)

    async def _poll(self, watch: SilenceWatch) -> None:
        for lost in watch.poll(await self._storage.unsettled_nodes(self._name)):
            await self._take_over(lost, idle=True)
        named, self._named = self._named, {}
        for node, epoch in named.items():
            row = await self._storage.registration(node)
            if row is None:
                _log.warning("lost_node_unknown", node=node, epoch=epoch, hint="tallygate recover")
            elif node != self._name and (row.epoch == epoch or (row.epoch > epoch and self._stays_unheard(row))):
                await self._take_over(row, idle=False)

    def _stays_unheard(self, row: Registration) -> bool:
        """Whether the node began an epoch that control has not heard of for long: it is cut off with all it left."""
        now_ns = self._clock.monotonic_ns()
        epoch, since_ns = self._unheard.get(row.node, (0, now_ns))
        if epoch != row.epoch:
            since_ns = now_ns
        self._unheard[row.node] = (row.epoch, since_ns)
        return now_ns - since_ns >= UNHEARD_NS

    async def _take_over(self, lost: Registration, *, idle: bool) -> None:
        if lost.node in self._wards and not self._wards[lost.node].done():
            return
        epoch = await self._storage.take_over(lost, caretaker_of(self._holder), idle=idle)
        if epoch is not None:
            _log.warning("node_taken_over", node=lost.node, epoch=epoch)
            self._wards[lost.node] = asyncio.create_task(self._care(lost.node, epoch))

    async def _care(self, node: str, epoch: int) -> None:
        """Settle everything of the epochs below; somebody else takes over in turn where this fails."""
        try:
            assembly = await put_together(
                node,
                epoch,
                self._storage,
                self._connect,
                self._keys,
                clock=self._clock,
                new_id=self._new_id,
                settings=self._settings,
                caretaker=self._name,
            )
            await _settle(assembly)
            _log.info("node_settled", node=node, epoch=epoch)
        except NodeFencedError:
            _log.info("node_came_back", node=node, epoch=epoch)
        except (StorageUnavailableError, grpc.aio.AioRpcError) as error:
            _log.warning("node_not_settled", node=node, epoch=epoch, problem=str(error))


async def _settle(assembly: Assembly) -> None:
    """Work as the node itself would after a restart, until nothing is left. Raises what `work` raises."""
    work = asyncio.create_task(assembly.work())
    try:
        while not assembly.is_settled:
            await asyncio.wait([work], timeout=END_INTERVAL_S)
            if work.done():
                work.result()
    finally:
        assembly.runner.cancel()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
