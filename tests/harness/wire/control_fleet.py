"""A real control service in this process, and a metering node that talks to it over the wire."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from control_service.bootstrap import OPEN, Access, assemble
from control_service.storage.database import MIGRATIONS
from tallygate._server.clock import Clock, SystemClock
from tallygate._server.database.engine import create_engine
from tallygate.control.v1 import (
    access_service_pb2_grpc,
    account_service_pb2,
    account_service_pb2_grpc,
    alert_service_pb2_grpc,
    api_key_config_pb2,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    config_pb2,
    inference_service_pb2,
    key_service_pb2_grpc,
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
    limit_config_pb2,
    limit_service_pb2_grpc,
    model_pb2,
    operations_service_pb2_grpc,
    pot_pb2,
    recovery_service_pb2_grpc,
    team_service_pb2_grpc,
    token_service_pb2_grpc,
)
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import fleet_service_pb2_grpc as grpc_pb
from tests.harness.migrated import migrated_url
from tests.harness.patience import PATIENCE_S
from tests.harness.wire.caller_channel import calling

SERVICE = "accounts/acme/services/default-llama"
DATABASE_ID = "metering-database"


class Control:
    """Stubs of a running control service, and what people do with it."""

    def __init__(self, address: str, channel: grpc.aio.Channel) -> None:
        self.address = address
        self.channel = channel
        self.accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        self.catalogue = catalog_service_pb2_grpc.CatalogServiceStub(channel)
        self.lifecycle = lifecycle_service_pb2_grpc.LifecycleServiceStub(channel)
        self.operations = operations_service_pb2_grpc.OperationsServiceStub(channel)
        self.access = access_service_pb2_grpc.AccessServiceStub(channel)
        self.teams = team_service_pb2_grpc.TeamServiceStub(channel)
        self.alerts = alert_service_pb2_grpc.AlertServiceStub(channel)
        self.tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        self.keys = key_service_pb2_grpc.KeyServiceStub(channel)
        self.limits = limit_service_pb2_grpc.LimitServiceStub(channel)
        self.fleet = grpc_pb.FleetServiceStub(channel)
        self.recovery = recovery_service_pb2_grpc.RecoveryServiceStub(channel)

    async def stock(self, funds_nanos: int = 1_000_000_000) -> None:
        """The account `acme` with money, and the model `llama` with a price and a trial."""
        await self.accounts.CreateAccount(account_service_pb2.CreateAccountRequest(name="accounts/acme"))
        await self.top_up(funds_nanos)
        offer = model_pb2.TrialOffer(quota_tokens=1_000)
        await self.catalogue.CreateModel(catalog_service_pb2.CreateModelRequest(name="models/llama", trial_offer=offer))
        await self.publish(1_000)

    async def publish(self, nanos: int) -> None:
        await self.catalogue.PublishPrice(
            catalog_service_pb2.PublishPriceRequest(
                model="models/llama", input_nanos_per_million_tokens=nanos, output_nanos_per_million_tokens=nanos
            )
        )

    async def top_up(self, amount_nanos: int) -> None:
        await self.accounts.TopUpAccount(
            account_service_pb2.TopUpAccountRequest(name="accounts/acme", amount_nanos=amount_nanos)
        )

    async def enable_postpaid(self, name: str = SERVICE) -> None:
        await self.lifecycle.EnablePostpaid(lifecycle_service_pb2.EnablePostpaidRequest(name=name))

    async def disable_postpaid(self, name: str = SERVICE) -> None:
        await self.lifecycle.DisablePostpaid(lifecycle_service_pb2.DisablePostpaidRequest(name=name))

    async def claim_trial(self, name: str = SERVICE) -> None:
        await self.lifecycle.ClaimFreeTrial(lifecycle_service_pb2.ClaimFreeTrialRequest(name=name))

    async def create_service(self, name: str) -> None:
        request = lifecycle_service_pb2.CreateInferenceServiceRequest(name=name, model="models/llama")
        await self.lifecycle.CreateInferenceService(request)

    async def status(self, name: str = SERVICE) -> Any:
        request = lifecycle_service_pb2.GetInferenceServiceRequest(name=name)
        return (await self.lifecycle.GetInferenceService(request)).inference_service.status

    async def until_status(self, status: "inference_service_pb2.ServiceStatus.ValueType", name: str = SERVICE) -> None:
        """Waits until the service has this status."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.status(name) != status:
                pass


class WireNode:
    """A metering node: one stream, on which it acknowledges all that it hears unless it was told not to."""

    def __init__(
        self,
        control: Control,
        name: str = "node-a",
        epoch: int = 1,
        *,
        acknowledges: bool = True,
        caretaker: str = "",
    ) -> None:
        self.control = control
        self.name = name
        self.epoch = epoch
        self.acknowledges = acknowledges
        self.caretaker = caretaker
        self.version = 0
        self.services: dict[str, config_pb2.ServiceConfig] = {}
        self.credentials: list[pb.CredentialConfig] = []
        self.api_keys: list[api_key_config_pb2.ApiKeyConfig] = []
        self.models: dict[str, str] = {}
        self.limits: dict[str, list[limit_config_pb2.LimitConfig]] = {}
        self.recalled: set[str] = set()
        self.replenished: set[str] = set()
        self.replenished_limit_pots: list[pot_pb2.LimitPot] = []
        self.exchange_number = 0
        self.stream: Any = None
        self._reading: asyncio.Task[None] | None = None
        self._heard = asyncio.Condition()
        self._turn = asyncio.Lock()

    async def say(self, message: pb.WatchConfigRequest) -> None:
        """Writes on the stream: one after the other, as gRPC wants it, whether a test says it or the reader does."""
        async with self._turn:
            await self.stream.write(message)

    async def hello(self, database_id: str = DATABASE_ID) -> None:
        """Opens the stream and waits for the first message."""
        self.stream = self.control.fleet.WatchConfig()
        hello = pb.NodeHello(
            node=self.name, epoch=self.epoch, metering_database_id=database_id, caretaker=self.caretaker
        )
        await self.say(pb.WatchConfigRequest(hello=hello))
        await self._take(await self.stream.read())
        self._reading = asyncio.create_task(self._read())

    async def subscribe(self, *names: str) -> None:
        """Subscribes, and waits until all is known."""
        subscription = pb.ConfigSubscription(subscribe=names)
        await self.say(pb.WatchConfigRequest(subscription=subscription))
        await self.until(lambda: all(name in self.services for name in names))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until what was heard makes the condition true."""
        async with asyncio.timeout(PATIENCE_S), self._heard:
            await self._heard.wait_for(condition)

    async def exchange(self, *statements: pb.LeaseStatement, number: int | None = None) -> list[pb.LeaseAnswer]:
        self.exchange_number += 1
        request = pb.ExchangeLeasesRequest(
            node=self.name,
            epoch=self.epoch,
            exchange_number=number or self.exchange_number,
            acknowledged_version=self.version,
            statements=statements,
        )
        return list((await self.control.fleet.ExchangeLeases(request)).answers)

    def state(self, name: str, kind: "pot_pb2.PotKind.ValueType", **levels: Any) -> pb.LeaseStatement:
        """What the node says of the lease that it has, or wants, on this pot."""
        return pb.LeaseStatement(
            lease_id=f"{self.name}-{self.epoch}-{name}-{kind}",
            inference_service=name,
            inference_service_uid=self.services[name].uid,
            pot_kind=kind,
            **levels,
        )

    async def end(self) -> grpc.StatusCode:
        """Waits until the server ends the stream; with which status."""
        async with asyncio.timeout(PATIENCE_S):
            code: grpc.StatusCode = await self.stream.code()
            return code

    async def stop(self) -> None:
        if self.stream is not None:
            self.stream.cancel()
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        while (message := await self.stream.read()) is not grpc.aio.EOF:
            await self._take(message)

    def _take_limits(self, message: pb.WatchConfigResponse) -> None:
        """Takes the limits of accounts and models, by their names."""
        self.limits.update({one.account: list(one.limits) for one in message.account_limits})
        self.limits.update({one.model: list(one.limits) for one in message.model_limits})

    async def _take(self, message: pb.WatchConfigResponse) -> None:
        async with self._heard:
            self.version = message.version
            self._take_limits(message)
            self.services.update({service.name: service for service in message.services})
            self.credentials += message.credentials
            self.api_keys += message.api_keys
            self.models.update({config.text: config.model for config in message.models})
            self.recalled.update(message.recalled_lease_ids)
            self.replenished.update(message.replenished_service_uids)
            self.replenished_limit_pots += message.replenished_limit_pots
            self._heard.notify_all()
        if self.acknowledges:
            taken = pb.ConfigAcknowledgement(version=message.version)
            await self.say(pb.WatchConfigRequest(acknowledgement=taken))


@asynccontextmanager
async def running_control(
    directory: Path, clock: Clock | None = None, access: Access = OPEN, operator: str = ""
) -> AsyncIterator[Control]:
    """A control service on a database of its own, on a port of its own; `operator` makes all calls here."""
    engine = create_engine(migrated_url(directory / "control.sqlite3", MIGRATIONS))
    program = assemble(engine, clock or SystemClock(), listen="127.0.0.1:0", insecure=False, access=access)
    try:
        async with (
            program.running() as address,
            calling(address, operator) if operator else grpc.aio.insecure_channel(address) as channel,
        ):
            yield Control(address, channel)
    finally:
        await engine.dispose()


@asynccontextmanager
async def wire_node(
    control: Control, name: str = "node-a", epoch: int = 1, *, acknowledges: bool = True, caretaker: str = ""
) -> AsyncIterator[WireNode]:
    """A node that said hello."""
    node = WireNode(control, name, epoch, acknowledges=acknowledges, caretaker=caretaker)
    await node.hello()
    try:
        yield node
    finally:
        await node.stop()
