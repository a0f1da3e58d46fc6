"""A database is restored from an older copy; nobody serves on it until people run the recovery."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from grpc.aio import AioRpcError

from control_service.domain.errors import StorageUnavailableError as ControlUnavailableError
from metering_service.api.recovery_servicer import RecoveryServicer
from metering_service.domain.errors import StorageUnavailableError as MeteringUnavailableError
from metering_service.storage import SqlRecoveryStore
from tallygate.cli.recovery_steps import Stubs, recover
from tests.simulation.database import InlineRecorder
from tests.simulation.loop import Party
from tests.simulation.ports import MeteringDatabase

if TYPE_CHECKING:
    from tests.simulation.simulation_harness import World

SINCE_S = (2.0, 5.0, 12.0)
RESERVES_S = 5.0
"""Time until nodes have taken what they keep in reserve."""


class ByHand:
    """The context of a call that somebody makes at the control service itself."""

    def invocation_metadata(self) -> None:
        """Nothing was said."""

    def peer(self) -> str:
        return "unix:"


BY_HAND: Any = ByHand()


async def restore(world: "World") -> None:
    """One of the two, to what it was some seconds before."""
    world.restoring = True
    put_back = world.chance.pick((_restore_control, _restore_control, _restore_metering))
    database = world.metering if put_back is _restore_metering else world.control
    try:
        while world.metering_disk.away or world.metering_disk.full:  # noqa: ASYNC110  # nobody tells
            # What nobody could record, and control forgets, nobody knows of.
            await asyncio.sleep(0.5)
        copy = database.copy()
        await asyncio.sleep(world.chance.pick(SINCE_S))
    except asyncio.CancelledError:
        world.restoring = False
        raise
    put_back(world, copy)
    world.work.append(asyncio.ensure_future(_recover(world)))


def _restore_control(world: "World", copy: bytes) -> None:
    """Nothing is lost but what people did meanwhile: the metering database has all that was consumed."""
    world.people.are_forgotten = True
    for name, replica in world.controls.items():
        if replica is not None:
            replica.crash(world)
            world.controls[name] = None
    world.control.restore(copy)
    world.note("the control database is as it was")
    for name in world.controls:
        world.start_control(name)


def _restore_metering(world: "World", copy: bytes) -> None:
    """What was recorded since is lost; what control was told stays."""
    world.lost_records = True
    for job in world.jobs:
        job.is_lost = True
    for name, node in world.nodes.items():
        if node is not None:
            node.crash()
            world.nodes[name] = None
    world.metering.restore(copy)
    world.note("the metering database is as it was")
    for name in world.nodes:
        world.start_node(name)


async def _recover(world: "World") -> None:
    """People take their time, and repeat what fails."""
    await asyncio.sleep(world.chance.uniform(0.0, 8.0))
    party = Party("recovery")
    recorder = InlineRecorder(world.metering, world.new_id)
    store: Any = MeteringDatabase(SqlRecoveryStore(world.metering.engine, recorder), world.metering_disk, party)
    metering = RecoveryServicer(store, world.new_id)
    stubs = Stubs(
        list_nodes=_insisting(world, lambda request: _control(world).operations.ListNodes(request, None)),
        book_leases=_insisting(world, lambda request: _control(world).recovery.BookLeases(request, BY_HAND)),
        finish=_insisting(world, lambda request: _control(world).recovery.FinishRecovery(request, BY_HAND)),
        fence_nodes=_insisting(world, lambda request: metering.FenceNodes(request, None)),  # type: ignore[arg-type]
        list_lease_totals=_insisting(world, lambda request: metering.ListLeaseTotals(request, None)),  # type: ignore[arg-type]
    )
    done = await recover(stubs, world.note, lambda: world.loop.now_s)
    world.note(f"recovered: {sorted(done.booked.items())}")
    world.unbooked.update(done.unknown_lease_ids)
    world.restoring = False
    # Only now nodes take what they keep in reserve; until they have, the books would seem to be at rest.
    await asyncio.sleep(RESERVES_S)


def _control(world: "World") -> Any:
    replica = world.some_control()
    if replica is None or replica.party.paused:
        raise ControlUnavailableError
    return replica.assembly


def _insisting(world: "World", call: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    async def insist(request: Any) -> Any:
        while True:
            try:
                return await call(request)
            except asyncio.CancelledError:
                # Not this task was cancelled, but the process that it asked, in the middle of its answer.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                await asyncio.sleep(world.chance.uniform(0.1, 1.0))
            except (AioRpcError, MeteringUnavailableError, ControlUnavailableError):
                await asyncio.sleep(world.chance.uniform(0.1, 1.0))

    return insist
