"""Puts a metering node behind a server, runs it, and takes it apart in order: drain, commit, return leases, stop."""

import asyncio
import uuid
from collections.abc import Awaitable
from typing import Any

import grpc
import structlog

from metering_service.api.control_link import connect_to
from metering_service.api.errors import translate
from metering_service.api.metering_servicer import MeteringServicer
from metering_service.api.usage_servicer import UsageServicer
from metering_service.assembly import Assembly, assemble
from metering_service.domain.errors import NodeFenced, StorageUnavailable
from metering_service.settings import Settings
from metering_service.storage import MIGRATIONS, SqlRecorder, SqlUsageReader
from metering_service.usecases.settings import NodeSettings
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
DRAIN_S = 3.0
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
        assembly = await assemble(
            settings.node_name,
            SqlRecorder(engine, new_id),
            connect_to(settings.control),
            clock=SystemClock(),
            new_id=new_id,
            settings=NodeSettings(),
        )
        node = assembly.node
        metering = MeteringServicer(node)
        usage = UsageServicer(
            SqlUsageReader(engine), running=node.running, fresh_through_us=node.books.fresh_through_us
        )

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
        await _run(assembly, metering, server, stop)
    except StorageUnavailable as error:
        raise StartupError(f"{error} Start this node again when the metering database answers.") from error
    finally:
        await engine.dispose()


async def _run(assembly: Assembly, metering: MeteringServicer, server: GrpcServer, stop: asyncio.Event) -> None:
    node = assembly.node
    address = await server.start()
    log.info("starting", address=address, node=node.name, epoch=node.epoch)
    work = asyncio.gather(assembly.work(), _announce_when_up_to_date(assembly, server, address))
    stopped = asyncio.create_task(stop.wait())
    try:
        futures: set[asyncio.Future[Any]] = {work, stopped}
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await _explain(work)
        log.info("stopping", node=node.name)
        metering.drain()
        await server.stop(DRAIN_S)
        await assembly.leave()
        log.info("stopped", node=node.name)
    finally:
        stopped.cancel()
        assembly.runner.cancel()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await server.stop(0)


async def _announce_when_up_to_date(assembly: Assembly, server: GrpcServer, address: str) -> None:
    """A node serves once it has heard from the control service; from then on it goes on with what it has."""
    await assembly.link.up_to_date.wait()
    server.set_serving(True)
    announce(address)
    log.info("serving", address=address)


async def _explain(work: Awaitable[object]) -> None:
    """Turn the end of a task that never ends by itself into a sentence."""
    try:
        await work
    except NodeFenced as error:
        raise StartupError(f"{error} This node stops; start it again, under a name that no other node has.") from error
    except grpc.aio.AioRpcError as error:
        raise StartupError(f"The control service refused this node: {error.details()}") from error
