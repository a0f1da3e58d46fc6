"""Puts a metering node together, runs it, and takes it apart again in order: drain, commit, return leases, stop."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import structlog

from metering_service.api.control_link import ControlLink
from metering_service.api.errors import translate
from metering_service.api.metering_servicer import MeteringServicer
from metering_service.api.usage_servicer import UsageServicer
from metering_service.domain.errors import NodeFenced, StorageUnavailable
from metering_service.settings import Settings
from metering_service.storage import MIGRATIONS, SqlRecorder, SqlUsageReader
from metering_service.usecases.books import Books
from metering_service.usecases.configuration import forget_idle
from metering_service.usecases.errands import Runner, every
from metering_service.usecases.group_commit import GroupCommitter
from metering_service.usecases.lease_keeper import LeaseKeeper
from metering_service.usecases.node import Node
from metering_service.usecases.parking import expire
from metering_service.usecases.ports import Recorder
from metering_service.usecases.recovery import Recovery
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.settle import forget_finished, hand_over, look_for_silent
from tallygate._server.clock import SystemClock
from tallygate._server.database import create_engine, migrate
from tallygate._server.errors import StartupError
from tallygate._server.run import announce
from tallygate._server.server import GrpcServer
from tallygate.metering.v1 import (
    metering_service_pb2,
    metering_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
)

PROGRAM = "metering service"
EXPIRE_INTERVAL_S = 0.02
HOUSEKEEPING_INTERVAL_S = 1.0
DRAIN_S = 3.0
SETTLE_S = 5.0
SERVICE_NAMES = (
    metering_service_pb2.DESCRIPTOR.services_by_name["MeteringService"].full_name,
    usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"].full_name,
)

log = structlog.get_logger()


def new_id() -> str:
    """A random id for a lease or a database."""
    return uuid.uuid4().hex


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run a node until `stop` is set. Raises StartupError where it cannot start, or was told that it must not run."""
    engine = create_engine(settings.database_url)
    try:
        await migrate(engine, MIGRATIONS, PROGRAM)
        storage = SqlRecorder(engine, new_id)
        clock, node_settings = SystemClock(), NodeSettings()
        epoch = await storage.register_node(settings.node_name)
        books = Books(clock=clock, node=settings.node_name, epoch=epoch, settings=node_settings)
        link = ControlLink(settings.control, database_id=await storage.database_id())
        runner = Runner(link, storage)
        node = Node(
            name=settings.node_name,
            epoch=epoch,
            clock=clock,
            new_id=new_id,
            books=books,
            settings=node_settings,
            errands=runner,
        )
        runner.node = node
        keeper = LeaseKeeper(node)
        recovery = Recovery(node, storage, keeper)
        await recovery.look()
        committer = GroupCommitter(books, storage, node=node.name, epoch=epoch, settings=node_settings)
        metering = MeteringServicer(node)
        usage = UsageServicer(SqlUsageReader(engine), running=node.running, fresh_through_us=books.fresh_through_us)

        def add_servicers(server: grpc.aio.Server) -> None:
            metering_service_pb2_grpc.add_MeteringServiceServicer_to_server(metering, server)
            usage_service_pb2_grpc.add_UsageServiceServicer_to_server(usage, server)

        server = GrpcServer(
            listen=settings.listen,
            insecure=settings.insecure,
            service_names=SERVICE_NAMES,
            add_servicers=add_servicers,
            translate=translate,
        )
        await _run(_Parts(node, storage, link, keeper, committer, recovery, runner, metering, server), stop)
    except StorageUnavailable as error:
        raise StartupError(f"{error} Start this node again when the metering database answers.") from error
    finally:
        await engine.dispose()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a running node is made of."""

    node: Node
    storage: Recorder
    link: ControlLink
    keeper: LeaseKeeper
    committer: GroupCommitter
    recovery: Recovery
    runner: Runner
    metering: MeteringServicer
    server: GrpcServer


async def _run(parts: _Parts, stop: asyncio.Event) -> None:
    node, link, keeper, server = parts.node, parts.link, parts.keeper, parts.server
    address = await server.start()
    log.info("starting", address=address, node=node.name, epoch=node.epoch)
    work = asyncio.gather(
        link.run(node, keeper),
        parts.committer.run(),
        every(EXPIRE_INTERVAL_S, lambda: expire(node)),
        every(HOUSEKEEPING_INTERVAL_S, lambda: _keep_house(node)),
        every(HOUSEKEEPING_INTERVAL_S, parts.recovery.settle),
        _announce_when_up_to_date(link, server, address),
    )
    stopped = asyncio.create_task(stop.wait())
    try:
        futures: set[asyncio.Future[Any]] = {work, stopped}
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await _explain(work)
        log.info("stopping", node=node.name)
        parts.metering.drain()
        await server.stop(DRAIN_S)
        await _hand_over(node, parts.storage)
        await _until(lambda: node.books.idle, "settled requests that are not committed")
        keeper.close_all()
        await _until(lambda: _all_closed(keeper, link), "leases that are not returned")
        await _until(lambda: node.books.idle, "closed leases that are not recorded")
        log.info("stopped", node=node.name)
    finally:
        stopped.cancel()
        parts.runner.cancel()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await server.stop(0)


async def _announce_when_up_to_date(link: ControlLink, server: GrpcServer, address: str) -> None:
    """A node serves once it has heard from the control service; from then on it goes on with what it has."""
    await link.up_to_date.wait()
    server.set_serving(True)
    announce(address)
    log.info("serving", address=address)


def _keep_house(node: Node) -> None:
    look_for_silent(node)
    forget_finished(node)
    forget_idle(node)


async def _hand_over(node: Node, storage: Recorder) -> None:
    """Book what no stream handed over: requests that nobody speaks of, some of which may have gone on elsewhere."""
    running = {request: service for service in node.services.values() for request in service.open.values()}
    try:
        for request, service in (running | node.silent).items():
            hand_over(node, service, request, await storage.find_request(service.uid, request.request_id))
    except StorageUnavailable as error:
        log.warning("left_behind", what="requests that are not handed over", problem=str(error))


def _all_closed(keeper: LeaseKeeper, link: ControlLink) -> bool:
    link.exchange()
    return keeper.all_closed


async def _until(condition: Callable[[], bool], what: str) -> None:
    """Wait, but not for ever: what is left is settled by the next epoch of this node."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLE_S
    while not condition():
        if loop.time() > deadline:
            log.warning("left_behind", what=what)
            return
        await asyncio.sleep(0.02)


async def _explain(work: Awaitable[object]) -> None:
    """Turn the end of a task that never ends by itself into a sentence."""
    try:
        await work
    except NodeFenced as error:
        raise StartupError(f"{error} This node stops; start it again, under a name that no other node has.") from error
    except grpc.aio.AioRpcError as error:
        raise StartupError(f"The control service refused this node: {error.details()}") from error
