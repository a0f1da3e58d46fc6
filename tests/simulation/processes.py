"""The two services as processes of the simulated fleet: the real code, put together as the real programs do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from grpc.aio import AioRpcError

from control_service import assembly as control_assembly
from control_service.api.errors import translate as control_failure
from control_service.storage.database import SqlDatabase
from metering_service.api.authenticator import NodeAuthenticator
from metering_service.api.errors import translate as metering_failure
from metering_service.api.metering_servicer import MeteringServicer
from metering_service.assembly import Assembly, put_together
from metering_service.domain.errors import NodeFencedError, StorageUnavailableError
from metering_service.storage import SqlPurgeStore
from metering_service.takeover import Caretaking
from metering_service.usecases.lookups.lookups import together
from metering_service.usecases.lookups.resume_keys import ResumeKeys
from metering_service.usecases.lookups.service_teams import ServiceTeams
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.upkeep.retention import Purge
from tallygate._server.grpc.access_rules import rule_of
from tallygate._server.grpc.caller import set_caller
from tallygate._server.grpc.gate import Gate
from tallygate._server.grpc.refusals import counting
from tests.simulation.admissions import ToldByControl
from tests.simulation.clock import SimulatedClock
from tests.simulation.credentials import KNOWN_BY_CONTROL
from tests.simulation.database import InlineRecorder
from tests.simulation.gatherings import gather
from tests.simulation.loop import Party
from tests.simulation.network import Server, ServerContext, StreamCall
from tests.simulation.ports import ControlDatabase, MeteringDatabase

if TYPE_CHECKING:
    from tests.simulation.simulation_harness import World

METER = rule_of("tallygate.metering.v1.MeteringService", "Meter")
DRAIN_S = 3.0
DRIFT_PPM_MAX = 20_000
"""Two in a hundred: some tenth of the margin that leases have."""


class ControlProcess:
    """One start of one control replica."""

    def __init__(self, world: "World", name: str, number: int) -> None:
        self.name = name
        self.party = Party(f"{name}#{number}")
        self.clock = SimulatedClock(world.loop, world.chance.integer(-DRIFT_PPM_MAX, DRIFT_PPM_MAX))
        database = ControlDatabase(SqlDatabase(world.control.engine), world.control, world.control_disk, self.party)
        self.assembly = control_assembly.put_together(database, self.clock, world.new_id, KNOWN_BY_CONTROL)
        gather(world, self.assembly.exchanges)
        self.database = database
        self.server = Server(self.party, control_failure)
        self.tasks = [world.loop.spawn(self.party, run()) for run in self.assembly.background]

    def crash(self, world: "World") -> None:
        """SIGKILL."""
        world.loop.crash(self.party)
        self.server.break_streams()


class MeteringProcess:
    """One start of one metering node."""

    def __init__(self, world: "World", name: str, number: int) -> None:
        self.world = world
        self.name = name
        self.party = Party(f"{name}#{number}")
        self.clock = SimulatedClock(world.loop, world.chance.integer(-DRIFT_PPM_MAX, DRIFT_PPM_MAX))
        self.server = Server(self.party, metering_failure)
        self.assembly: Assembly | None = None
        self.servicer: MeteringServicer | None = None
        self.told = ToldByControl(world.loop)
        self._gate = Gate()
        self.serving = False
        self._leaving = asyncio.Event()
        self.main = world.loop.spawn(self.party, self._main())

    @property
    def alive(self) -> bool:
        """Whether it runs, paused or not."""
        return not self.party.dead and not self.main.done()

    def crash(self) -> None:
        """SIGKILL."""
        self.world.loop.crash(self.party)
        self.server.break_streams()

    def leave(self) -> None:
        """SIGTERM."""
        self._leaving.set()

    async def meter(self, requests: Any, context: ServerContext) -> None:
        """A stream to this node: the gate first, as the real guard has it."""
        if not self._gate.is_open:
            caller: Any = await self._gate.admit(METER, None, context)  # type: ignore[arg-type]  # as far as it is used
            set_caller(caller)
            assert context.stream is not None
            self.world.credentials.admissions.admit(self, context.stream)
        assert self.servicer is not None
        responses: Any = self.servicer.Meter(requests, context)  # type: ignore[arg-type]
        try:
            async for response in responses:
                await context.write(response)
        finally:
            await responses.aclose()

    async def _main(self) -> None:
        world = self.world
        recorder = InlineRecorder(world.metering, world.new_id)
        storage = MeteringDatabase(recorder, world.metering_disk, self.party)
        common: Any = {"clock": self.clock, "new_id": world.new_id, "settings": NodeSettings()}
        try:
            epoch = await storage.register_node(self.name, self.party.name)
            keys = ResumeKeys(storage, self.clock, world.new_secret)
            await keys.read()
            assembly = await put_together(self.name, epoch, storage, self._connect_own, keys, **common)
        except StorageUnavailableError:
            return
        caretaking = Caretaking(self.name, self.party.name, storage, self._connect, keys, **common)
        assembly.link.on_lost = caretaking.name_lost
        self.assembly, self.servicer = assembly, MeteringServicer(assembly.node)
        if world.credentials.are_shown:
            on_refused = counting(assembly.link.refusals, self.clock)
            self._gate = Gate(NodeAuthenticator(assembly.credentials), ServiceTeams(assembly.node), on_refused)
        world.note(f"{self.party} begins epoch {assembly.node.epoch}")
        store: Any = MeteringDatabase(SqlPurgeStore(world.metering.engine), world.metering_disk, self.party)
        purge = Purge(store, self.clock, common["settings"])
        work = asyncio.ensure_future(together(assembly.work(), caretaking.run(), purge.run(), keys.run()))
        leaving = asyncio.ensure_future(self._leaving.wait())
        up = asyncio.ensure_future(self._serve_when_up_to_date(assembly))
        try:
            futures: set[asyncio.Future[Any]] = {work, leaving}
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                self._explain(work)
            else:
                await self._leave(assembly)
        finally:
            self.serving = False
            self.server.break_streams()
            assembly.runner.cancel()
            for task in (work, leaving, up):
                task.cancel()
            await asyncio.gather(work, leaving, up, return_exceptions=True)

    def _explain(self, work: "asyncio.Future[Any]") -> None:
        """Why a node ends by itself; anything but a fence is a bug."""
        error = work.exception()
        if isinstance(error, NodeFencedError | AioRpcError):
            self.world.note(f"{self.party} was refused: {error}")
        elif error is not None:
            raise error

    async def _leave(self, assembly: Assembly) -> None:
        assert self.servicer is not None
        self.serving = False
        self.servicer.drain()
        try:
            async with asyncio.timeout(DRAIN_S):
                while self.server.streams:  # noqa: ASYNC110  # as the server that it stands for
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self.server.break_streams()
        await assembly.leave()
        self.world.note(f"{self.party} has left")

    async def _serve_when_up_to_date(self, assembly: Assembly) -> None:
        await assembly.link.up_to_date.wait()
        self.serving = True

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Any]:
        yield _FleetStub(self)

    @asynccontextmanager
    async def _connect_own(self) -> AsyncIterator[Any]:
        """For the node itself, not for those that it is the caretaker of."""
        yield _FleetStub(self, self.told)


class _FleetStub:
    """The stub that a node's line to control uses: exchanges go where its stream goes, a new stream to the next one.

    In a storm a balancer is between them, which sends each call to any replica that is there.
    """

    def __init__(self, process: MeteringProcess, told: ToldByControl | None = None) -> None:
        self._process = process
        self._told = told
        world = process.world
        # Each node begins with another one, as if its list of replicas had been shuffled.
        self._turn = 0 if world.storm else world.chance.integer(0, len(world.controls) - 1)

    @property
    def _replica(self) -> ControlProcess | None:
        world = self._process.world
        if world.storm:
            return world.some_control()
        return world.controls[list(world.controls)[self._turn % len(world.controls)]]

    def WatchConfig(self) -> StreamCall:
        self._turn += 1
        world, replica = self._process.world, self._replica
        if replica is None:
            return world.network.stream(self._process.party, None, None)
        call = world.network.stream(self._process.party, replica.server, replica.assembly.fleet.WatchConfig)
        if self._told is not None:
            self._told.begin(call, replica)
        return call

    async def ExchangeLeases(self, request: Any, timeout: float) -> Any:  # noqa: ASYNC109  # as the stub has it
        process, replica = self._process, self._replica
        if replica is None:
            return await process.world.network.call(process.party, None, _nobody, request, timeout)
        answer = await process.world.network.call(
            process.party, replica.server, replica.assembly.fleet.ExchangeLeases, request, timeout
        )
        process.world.exchanges[replica.name] += 1
        return answer


async def _nobody(_request: Any, _context: Any) -> Any:
    raise AssertionError("unreachable: there is no server")
