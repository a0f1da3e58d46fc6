"""The control service put together, run, and taken apart in order: streams, calls, background, rest."""

import asyncio
import random
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.access_settings import AccessSettings, read_credentials
from control_service.api.access_servicer import AccessServicer
from control_service.api.account_servicer import AccountServicer
from control_service.api.alert_servicer import AlertServicer
from control_service.api.audit_servicer import AuditServicer
from control_service.api.authenticator import DatabaseAuthenticator
from control_service.api.calls import Calls
from control_service.api.catalog_servicer import CatalogServicer
from control_service.api.errors import translate
from control_service.api.key_servicer import KeyServicer
from control_service.api.lifecycle_servicer import LifecycleServicer
from control_service.api.limit_servicer import LimitServicer
from control_service.api.team_servicer import TeamServicer
from control_service.api.token_servicer import TokenServicer
from control_service.assembly import Assembly, put_together
from control_service.domain.kept_days import USUAL, KeptDays
from control_service.domain.token_seal import TokenSeal
from control_service.metrics import ControlMetrics
from control_service.oidc.fetch import HttpFetch
from control_service.oidc.issuer import Issuer
from control_service.oidc.issuers_file import read_issuers
from control_service.oidc.verifier import OidcVerifier
from control_service.settings import Settings
from control_service.storage.database import MIGRATIONS, SqlDatabase
from control_service.usecases.access.exchange_token import ExchangeToken
from control_service.usecases.access.pepper import is_pepper_known
from control_service.usecases.access.token_mint import TokenMint
from control_service.usecases.alerts.delivery_sender import DeliverySender
from control_service.usecases.alerts.webhooks import SecretMint
from control_service.usecases.audit.refusal_log import RefusalLog
from control_service.usecases.fleet.config_feed import ConfigFeed
from control_service.usecases.keys.key_mint import KeyMint
from control_service.usecases.people.teams import ServiceTeams
from control_service.usecases.pulse import Pulse
from control_service.usecases.resolve_credential import NO_CREDENTIALS, Credentials
from control_service.usecases.upkeep.page_keys import PageKeyUpkeep
from control_service.webhooks.courier import HttpCourier
from tallygate._access.refusals import RefusalCounts
from tallygate._server.clock import Clock, SystemClock
from tallygate._server.database.durability import warn_of_losses
from tallygate._server.database.engine import create_engine, migrate
from tallygate._server.errors import ConfigurationError
from tallygate._server.grpc.gate import Authenticator, Gate
from tallygate._server.grpc.refusals import counting
from tallygate._server.grpc.server import GrpcServer
from tallygate._server.grpc.tls import ServerTls
from tallygate._server.metrics.service import ServiceMetrics
from tallygate._server.process.build import build_fields
from tallygate._server.process.facts_reader import FactsReader
from tallygate._server.process.readiness import Readiness
from tallygate._server.process.run import announce
from tallygate.control.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    account_service_pb2,
    account_service_pb2_grpc,
    alert_service_pb2,
    alert_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    fleet_service_pb2,
    fleet_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
    limit_service_pb2,
    limit_service_pb2_grpc,
    operations_service_pb2,
    operations_service_pb2_grpc,
    recovery_service_pb2,
    recovery_service_pb2_grpc,
    team_service_pb2,
    team_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)

PROGRAM: Final = "control service"
DRAIN_S: Final = 5.0
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Maximum size of a message: enough for statements on many thousand leases at once."""

SERVICE_NAMES: Final = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (access_service_pb2, "AccessService"),
        (account_service_pb2, "AccountService"),
        (alert_service_pb2, "AlertService"),
        (audit_service_pb2, "AuditService"),
        (catalog_service_pb2, "CatalogService"),
        (fleet_service_pb2, "FleetService"),
        (key_service_pb2, "KeyService"),
        (lifecycle_service_pb2, "LifecycleService"),
        (limit_service_pb2, "LimitService"),
        (operations_service_pb2, "OperationsService"),
        (recovery_service_pb2, "RecoveryService"),
        (team_service_pb2, "TeamService"),
        (token_service_pb2, "TokenService"),
    )
)

_log = structlog.get_logger(__name__)


def new_id() -> str:
    """A random id for an account, a model or a service."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Control:
    """A control service put together: its server, and the tasks that run beside the server."""

    server: GrpcServer
    readiness: Readiness
    feed: ConfigFeed
    page_keys: PageKeyUpkeep
    metrics: ServiceMetrics
    background: tuple[Callable[[], Coroutine[Any, Any, None]], ...]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serves inside the block; gives the address. A background task that fails ends the block.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        await self.page_keys.try_to_read()
        address = await self.server.start()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run()) for run in (*self.background, self.page_keys.run, self.readiness.run)]
            try:
                await self.readiness.look()
                yield address
            finally:
                self.feed.close_all()
                await self.server.stop(DRAIN_S)
                for task in tasks:
                    task.cancel()


@dataclass(frozen=True, slots=True)
class Access:
    """What credentials are known by, whether callers must have one, and where people sign in.

    `authenticator`: instead of the database.
    """

    credentials: Credentials = NO_CREDENTIALS
    asks_for_proof: bool = False
    authenticator: Authenticator | None = None
    issuers: tuple[Issuer, ...] = ()


OPEN: Final = Access()


def assemble(
    engine: AsyncEngine,
    clock: Clock,
    *,
    listen: str,
    insecure: bool,
    tls: ServerTls | None = None,
    access: Access = OPEN,
    kept: KeptDays = USUAL,
    webhooks_allow_private: bool = False,
) -> Control:
    """Puts a control service together on a database that is at its newest revision.

    Raises:
        ConfigurationError: the address is malformed or unsafe, or a file of `tls` is missing or broken.
    """
    database = SqlDatabase(engine)
    diagnostics = FactsReader(engine, clock, compiled=False, asks_for_proof=access.asks_for_proof)
    assembly = put_together(database, clock, new_id, access.credentials, kept, diagnostics=diagnostics)
    calls = Calls(assembly.idempotent_calls)
    tokens = _token_servicer(database, clock, assembly, access)
    alerts, senders = _alerting(
        database, clock, calls, assembly.pulse, access.credentials.seal, allows_private=webhooks_allow_private
    )

    def add_servicers(server: grpc.aio.Server) -> None:
        account_service_pb2_grpc.add_AccountServiceServicer_to_server(AccountServicer(database, clock, calls), server)
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogServicer(database, clock, calls), server)
        lifecycle = LifecycleServicer(database, clock, calls)
        lifecycle_service_pb2_grpc.add_LifecycleServiceServicer_to_server(lifecycle, server)
        limit_service_pb2_grpc.add_LimitServiceServicer_to_server(LimitServicer(database, clock, calls), server)
        team_service_pb2_grpc.add_TeamServiceServicer_to_server(TeamServicer(database, calls), server)
        fleet_service_pb2_grpc.add_FleetServiceServicer_to_server(assembly.fleet, server)
        recovery_service_pb2_grpc.add_RecoveryServiceServicer_to_server(assembly.recovery, server)
        audit_service_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(database), server)
        operations_service_pb2_grpc.add_OperationsServiceServicer_to_server(assembly.operations, server)
        bindings = AccessServicer(database, calls, access.credentials.issuer_scopes)
        access_service_pb2_grpc.add_AccessServiceServicer_to_server(bindings, server)
        alert_service_pb2_grpc.add_AlertServiceServicer_to_server(alerts, server)
        token_service_pb2_grpc.add_TokenServiceServicer_to_server(tokens, server)
        keys = KeyServicer(database, clock, calls, KeyMint(access.credentials.seal, secrets.token_bytes))
        key_service_pb2_grpc.add_KeyServiceServicer_to_server(keys, server)

    refusals = RefusalLog(database, counts := RefusalCounts(), new_id())
    page_keys = PageKeyUpkeep(database, clock, secrets.token_bytes)
    metrics = _metrics(ControlMetrics(assembly, database, clock))
    server = metrics.server = GrpcServer(
        listen=listen,
        insecure=insecure,
        tls=tls,
        service_names=SERVICE_NAMES,
        add_servicers=add_servicers,
        translate=translate,
        max_message_bytes=MESSAGE_BYTES_MAX,
        gate=Gate(_authenticator(access, assembly), ServiceTeams(database), counting(counts, clock)),
        page_keys=page_keys.keys,
        rpcs=metrics.rpcs,
    )
    readiness = Readiness(engine, lambda answers: dict.fromkeys(SERVICE_NAMES, answers), server.set_ready)
    return Control(server, readiness, assembly.feed, page_keys, metrics, (*assembly.background, refusals.run, *senders))


def _metrics(own: ControlMetrics) -> ServiceMetrics:
    return ServiceMetrics(build_fields(compiled=False), own.read, own.survey)


def _authenticator(access: Access, assembly: Assembly) -> Authenticator | None:
    """What tells who calls; None where nobody is asked."""
    if access.authenticator is None and access.asks_for_proof:
        return DatabaseAuthenticator(assembly.proofs)
    return access.authenticator


def _token_servicer(database: SqlDatabase, clock: Clock, assembly: Assembly, access: Access) -> TokenServicer:
    """What makes tokens, also for people who sign in."""
    mint = TokenMint(access.credentials.seal, secrets.token_bytes)
    verifier = OidcVerifier(access.issuers, HttpFetch(), clock)
    sign_ins = ExchangeToken(assembly.idempotent_calls, verifier, mint)
    return TokenServicer(database, clock, Calls(assembly.idempotent_calls), mint, sign_ins)


def _alerting(
    database: SqlDatabase, clock: Clock, calls: Calls, pulse: Pulse, seal: TokenSeal | None, *, allows_private: bool
) -> tuple[AlertServicer, Sequence[Callable[[], Coroutine[Any, Any, None]]]]:
    """What serves alerts, and what sends them: nothing, without a pepper to sign with."""
    keys = seal.webhook_secrets() if seal is not None else None
    servicer = AlertServicer(database, calls, SecretMint(keys, secrets.token_bytes), allows_private=allows_private)
    if keys is None:
        return servicer, ()
    courier = HttpCourier(allows_private=allows_private)
    return servicer, (DeliverySender(database, clock, courier, keys, pulse=pulse, chance=random.random).run,)


def _access_of(settings: AccessSettings) -> Access:
    """Reads the files that are named. Raises ConfigurationError."""
    issuers = read_issuers(Path(settings.oidc_config)) if settings.oidc_config else ()
    scopes = {issuer.url: issuer.scope for issuer in issuers}
    return Access(read_credentials(settings, scopes), settings.asks_for_proof, issuers=issuers)


async def _require_own_pepper(engine: AsyncEngine, credentials: Credentials, pepper_file: str) -> None:
    """Makes sure that the pepper is the one that the database's tokens are hashed with. Raises ConfigurationError."""
    if credentials.seal is None or await is_pepper_known(SqlDatabase(engine), credentials.seal):
        return
    raise ConfigurationError(
        f"The pepper in {pepper_file} is not the one that the tokens of this database are hashed with, so that none of "
        "them would open anything: name the file that control was started with before, the same for all replicas."
    )


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serves until `stop` is set. Raises StartupError where it cannot start."""
    access = _access_of(settings.access)
    engine = create_engine(settings.database_url, settings.database_connections)
    try:
        await migrate(engine, MIGRATIONS, PROGRAM)
        await warn_of_losses(engine)
        await _require_own_pepper(engine, access.credentials, settings.access.pepper_file)
        if not access.asks_for_proof:
            _log.warning("open_to_everybody", hint="--operator-token-file and --pepper-file ask for proof")
        control = assemble(
            engine,
            SystemClock(),
            listen=settings.listen,
            insecure=settings.insecure,
            tls=settings.tls,
            access=access,
            kept=settings.kept,
            webhooks_allow_private=settings.webhooks_allow_private,
        )
        instance = f"{socket.gethostname()} {settings.listen}"
        told = control.metrics.told(settings.telling, "tallygate-control", instance, traces_calls=True)
        async with told, control.running() as address:
            mtls_address = control.server.mtls_address
            announce(address, mtls_address)
            at_mtls = {"mtls_address": mtls_address} if mtls_address else {}
            _log.info("serving", address=address, **at_mtls, **build_fields(compiled=False))
            await stop.wait()
            _log.info("stopping")
    finally:
        await engine.dispose()
