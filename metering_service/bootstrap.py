"""Puts a metering node behind a server, runs it, and takes it apart in order: drain, commit, return leases, stop."""

import asyncio
import secrets
import sys
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import grpc
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from metering_service import IS_COMPILED
from metering_service.api.authenticator import NodeAuthenticator
from metering_service.api.control.replicas import connect_to, is_reachable, proxies_to
from metering_service.api.diagnostics_servicer import DiagnosticsServicer
from metering_service.api.errors import translate
from metering_service.api.metering_servicer import MeteringServicer, Traces
from metering_service.api.recovery_servicer import RecoveryServicer
from metering_service.api.usage_servicer import UsageServicer
from metering_service.assembly import Assembly, put_together
from metering_service.domain.errors import NodeFencedError, RevisedElsewhereError, StorageUnavailableError
from metering_service.domain.key_ring import SECRET_BYTES
from metering_service.domain.resolution import DAY_US
from metering_service.gc_tuning import keep_search_short
from metering_service.link_options import channels_to
from metering_service.metrics import NodeMetrics
from metering_service.settings import Settings
from metering_service.storage import (
    MIGRATIONS,
    SqlPurgeStore,
    SqlRecorder,
    SqlRecoveryStore,
    SqlRollUpStore,
    SqlUsageReader,
)
from metering_service.supervisor import watch_supervisor
from metering_service.takeover import Caretaking
from metering_service.usecases.lookups.lookups import together
from metering_service.usecases.lookups.resume_keys import ResumeKeys
from metering_service.usecases.lookups.service_teams import ServiceTeams
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.upkeep.retention import Purge
from metering_service.usecases.upkeep.roll_up import RollUp
from tallygate._server.clock import Clock, SystemClock
from tallygate._server.database.durability import warn_of_losses
from tallygate._server.database.engine import create_engine, migrate
from tallygate._server.database.replica import Replica
from tallygate._server.errors import StartupError, SupersededError
from tallygate._server.grpc.gate import Gate
from tallygate._server.grpc.refusals import counting
from tallygate._server.grpc.server import GrpcServer
from tallygate._server.grpc.tls import ServerCertificates
from tallygate._server.metrics.service import ServiceMetrics
from tallygate._server.process.build import build_fields
from tallygate._server.process.facts_reader import FactsReader
from tallygate._server.process.readiness import Readiness
from tallygate._server.process.run import announce
from tallygate.metering.v1 import (
    diagnostics_service_pb2,
    diagnostics_service_pb2_grpc,
    metering_service_pb2,
    metering_service_pb2_grpc,
    recovery_service_pb2,
    recovery_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
)

PROGRAM: Final = "metering service"
DRAIN_S: Final = 3.0
"""Time that streams have to end by themselves when the node shuts down."""
AGAIN_S: Final = 1.0
"""Interval at which a node that is to come back asks its database again, which is away as well."""
SWITCH_INTERVAL_S: Final = 0.0005
"""Interval at which Python switches threads."""
SERVICE_NAMES: Final = (
    metering_service_pb2.DESCRIPTOR.services_by_name["MeteringService"].full_name,
    usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"].full_name,
    recovery_service_pb2.DESCRIPTOR.services_by_name["RecoveryService"].full_name,
    diagnostics_service_pb2.DESCRIPTOR.services_by_name["DiagnosticsService"].full_name,
)

_METERING, _USAGE, _RECOVERY, _DIAGNOSTICS = SERVICE_NAMES
ACCEPTING: Final = f"{_METERING}.accepting"
"""Name in health checking of whether this node decides on new requests, also without control."""

_log = structlog.get_logger(__name__)


def new_id() -> str:
    """A random id for a lease or a database."""
    return uuid.uuid4().hex


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run a node until `stop` is set; one that was thought dead, and was fenced, comes back under a new epoch.

    Raises:
        SupersededError: another process runs as this node.
        StartupError: it cannot start, or was told that it must not run.
    """
    # The thread that writes to SQLite has the interpreter when the decisions' let go of it, which is this often.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    engine = create_engine(settings.database_url, settings.database_connections)
    copy = _copy_for_reading(settings)
    try:
        await migrate(engine, MIGRATIONS, PROGRAM)
        await warn_of_losses(engine)
        program = _Program(settings, engine, copy)
        watching = asyncio.create_task(watch_supervisor(stop)) if settings.shared_listen else None
        async with program.metrics.told(settings.telling, "tallygate-metering", settings.node_name):
            while not stop.is_set():
                try:
                    await program.run_epoch(stop)
                except StorageUnavailableError:
                    if not program.has_served:
                        raise
                    await asyncio.sleep(AGAIN_S)
        if watching is not None:
            watching.cancel()
    except StorageUnavailableError as error:
        raise StartupError(f"{error} Start this node again when the metering database answers.") from error
    finally:
        await engine.dispose()
        if copy is not None:
            await copy.dispose()


def _copy_for_reading(settings: Settings) -> AsyncEngine | None:
    url, count = settings.read_database_url, settings.database_connections
    return create_engine(url, count, wanted="any", name="read_database") if url else None


class _Program:
    """One process: epochs one after the other, at one address."""

    def __init__(self, settings: Settings, engine: AsyncEngine, copy: AsyncEngine | None) -> None:
        """`copy`: for reading usage. Raises ConfigurationError where a file is missing or broken."""
        self._settings = settings
        self._engine = engine
        self._replica = Replica(engine, copy) if copy is not None else None
        self._holder = new_id()
        self._listen = settings.listen
        self._tls = settings.tls
        # For all epochs: one that begins while a file is half-written goes on with what was read before.
        self._certificates = ServerCertificates(settings.tls) if settings.tls else None
        self._channels = channels_to(settings.control.split(","), settings.control_security)
        self._diagnostics = FactsReader(engine, SystemClock(), compiled=IS_COMPILED, asks_for_proof=settings.auth)
        self.has_served = False
        """Whether an epoch of it has served: then it comes back by itself, whatever is away."""
        self._epochs = NodeMetrics()
        self.metrics = ServiceMetrics(build_fields(compiled=IS_COMPILED), self._epochs.read, self._epochs.survey)

    async def run_epoch(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, or this epoch is over. Raises StartupError, StorageUnavailableError."""
        name, clock, node_settings = self._settings.node_name, SystemClock(), NodeSettings()
        storage = SqlRecorder(self._engine, new_id)
        connect = connect_to(self._settings.control, self._channels, node=name)
        epoch = await storage.register_node(name, self._holder)
        keys = ResumeKeys(storage, clock, partial(secrets.token_bytes, SECRET_BYTES))
        await keys.read()
        assembly = await put_together(
            name, epoch, storage, connect, keys, clock=clock, new_id=new_id, settings=node_settings
        )
        caretaking = Caretaking(
            name, self._holder, storage, connect, keys, clock=clock, new_id=new_id, settings=node_settings
        )
        storage.model_of = assembly.node.model_of
        assembly.link.on_lost = caretaking.name_lost
        assembly.link.proxies = proxies_to(self._settings.control)
        metering = MeteringServicer(assembly.node, self._traces())
        server = self.metrics.server = self._server(assembly, metering)
        self._epochs.begin(assembly, metering.counts)
        try:
            await self._run(assembly, caretaking, metering, server, stop)
        except NodeFencedError as error:
            self._epochs.fenced_count += 1
            await once_stored(partial(self._judge, assembly, error), stop)
            # Until then this node is of no use, and a new epoch of it would only fence the node that settles for it.
            while not stop.is_set() and not await is_reachable(self._settings.control, self._channels):
                hint = "this node comes back when control can be reached"
                _log.warning("control_unreachable", node=name, proxies=assembly.link.proxies, hint=hint)

    def _traces(self) -> Traces | None:
        if self.metrics.tracer is None:
            return None
        from metering_service.traces import RequestTraces  # noqa: PLC0415  # an extra

        return RequestTraces(self.metrics.tracer)

    def _server(self, assembly: Assembly, metering: MeteringServicer) -> GrpcServer:
        node = assembly.node
        usage = UsageServicer(
            SqlUsageReader(self._engine, self._replica),
            running=node.running,
            fresh_through_us=node.buffer.fresh_through_us,
            denial_log=node.denial_log,
        )
        recovery = RecoveryServicer(SqlRecoveryStore(self._engine, SqlRecorder(self._engine, new_id)), new_id)

        diagnostics = DiagnosticsServicer(node, self._diagnostics, metering.counts, assembly.committer.counts)

        def add_servicers(server: grpc.aio.Server) -> None:
            metering_service_pb2_grpc.add_MeteringServiceServicer_to_server(metering, server)
            usage_service_pb2_grpc.add_UsageServiceServicer_to_server(usage, server)
            recovery_service_pb2_grpc.add_RecoveryServiceServicer_to_server(recovery, server)
            diagnostics_service_pb2_grpc.add_DiagnosticsServiceServicer_to_server(diagnostics, server)

        return GrpcServer(
            listen=self._listen,
            shared_listen=self._settings.shared_listen,
            insecure=self._settings.insecure,
            tls=self._tls,
            certificates=self._certificates,
            service_names=SERVICE_NAMES,
            other_health=(ACCEPTING,),
            add_servicers=add_servicers,
            translate=translate,
            gate=self._gate(assembly),
            page_keys=assembly.keys.page_keys,
            rpcs=self.metrics.rpcs,
        )

    def _gate(self, assembly: Assembly) -> Gate:
        if not self._settings.auth:
            return Gate()
        on_refused = counting(assembly.link.refusals, assembly.node.clock)
        return Gate(NodeAuthenticator(assembly.credentials), ServiceTeams(assembly.node), on_refused)

    async def _run(
        self,
        assembly: Assembly,
        caretaking: Caretaking,
        metering: MeteringServicer,
        server: GrpcServer,
        stop: asyncio.Event,
    ) -> None:
        """Raises NodeFencedError, with all streams broken and nothing said on them since."""
        node = assembly.node
        address = self._listen = await server.start()
        if self._tls is not None and server.mtls_address:
            self._tls = replace(self._tls, mtls_listen=server.mtls_address)
        _log.info("starting", address=address, node=node.name, epoch=node.epoch, **build_fields(compiled=IS_COMPILED))
        readiness = Readiness(self._engine, partial(_ready, assembly), server.set_ready)
        records_kept_us = self._settings.record_day_count * DAY_US
        purge = Purge(SqlPurgeStore(self._engine), node.clock, node.settings, records_kept_us)
        work = asyncio.create_task(
            together(
                assembly.work(),
                caretaking.run(),
                purge.run(),
                self._roll_up(node.clock).run(),
                assembly.keys.run(),
                keep_search_short(),
                readiness.run(),
                self._announce_when_up_to_date(assembly, readiness),
            )
        )
        stopped = asyncio.create_task(stop.wait())
        try:
            futures: set[asyncio.Future[Any]] = {work, stopped}
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            _log.info("stopping", node=node.name)
            metering.drain()
            await server.stop(DRAIN_S)
            await assembly.leave()
            _log.info("stopped", node=node.name)
        except grpc.aio.AioRpcError as error:
            raise StartupError(f"The control service refused this node: {error.details()}") from error
        finally:
            stopped.cancel()
            assembly.runner.cancel()
            work.cancel()
            await server.stop(0)
            await asyncio.gather(work, return_exceptions=True)
            await assembly.storage.close()

    def _roll_up(self, clock: Clock) -> RollUp:
        return RollUp(SqlRollUpStore(self._engine), clock, self._settings.minute_day_count * DAY_US)

    async def _announce_when_up_to_date(self, assembly: Assembly, readiness: Readiness) -> None:
        """A node serves once it has heard from the control service; from then on it goes on with what it has."""
        await assembly.link.up_to_date.wait()
        await readiness.look()
        if not self.has_served:
            self.has_served = True
            announce(self._listen, self._tls.mtls_listen if self._tls else "")
        _log.info("serving", address=self._listen, epoch=assembly.node.epoch)

    async def _judge(self, assembly: Assembly, error: NodeFencedError) -> None:
        """Whether a fenced node may come back: returns if so. Raises StartupError, StorageUnavailableError."""
        node = assembly.node
        if isinstance(error, RevisedElsewhereError):
            _log.warning("beginning_anew", node=node.name, epoch=node.epoch, problem=str(error))
            return
        row = await assembly.storage.registration(node.name)
        if row is None or (row.epoch, row.commit_no) < (node.epoch, assembly.committer.commit_no):
            raise StartupError(
                f"The metering database has epoch {row.epoch if row else 0} of node {node.name} where this process had "
                f"written more of epoch {node.epoch}: it was restored from an older copy; run `tallygate recover`."
            ) from error
        if row.epoch == node.epoch:
            raise StartupError(
                f"{error} The metering database knows no epoch of node {node.name} above {node.epoch}: it was restored "
                f"from an older copy; run `tallygate recover`."
            ) from error
        if not row.is_caretaken:
            raise SupersededError(
                f"Another process runs as node {node.name}: it began epoch {row.epoch}, so this one, with epoch "
                f"{node.epoch}, stops; give each node a name of its own with --node-name."
            ) from error
        _log.warning("coming_back", node=node.name, epoch=node.epoch, problem=str(error))


async def once_stored(ask: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Asks, again and again while the database does not answer, unless `stop` is set.

    A node may be fenced by way of control while it is cut off from its database, which alone says what became of it.
    """
    while not stop.is_set():
        try:
            await ask()
        except StorageUnavailableError:
            await asyncio.sleep(AGAIN_S)
        else:
            return


def _ready(assembly: Assembly, database_answers: bool) -> dict[str, bool]:
    """Whether each name of health checking is ready: usage needs the database, decisions control as well.

    A node that does without either goes on accepting requests for a while: while its leases hold and what waits to be
    committed is bounded.
    """
    node, link = assembly.node, assembly.link
    stores = database_answers and assembly.committer.is_answered
    return {
        _METERING: stores and link.is_connected and node.control_answers,
        ACCEPTING: (node.leases_valid or node.control_answers) and not node.buffer.overfull,
        _USAGE: database_answers,
        _RECOVERY: database_answers,
        _DIAGNOSTICS: True,
    }
