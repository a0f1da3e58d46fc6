"""A control service without its wire: accounts and services as a test needs them, and nodes that exchange leases."""

import itertools
from dataclasses import replace

from control_service.domain.account import Account, OverduePolicy
from control_service.domain.actor import Actor
from control_service.domain.bucket import Bucket
from control_service.domain.event import EventCause, Origin, ServiceEvent
from control_service.domain.lease import Lease, Statement
from control_service.domain.model import Model
from control_service.domain.pot import PotKey, PotKind
from control_service.domain.price import Price
from control_service.domain.reservation import OverflowPolicy, Reservation
from control_service.domain.service import Service, ServiceKind
from control_service.domain.status import PostpaidState
from control_service.domain.trial import Trial
from control_service.storage.database import SqlDatabase
from control_service.usecases.change_signal import ChangeSignal
from control_service.usecases.fleet.acknowledgements import Acknowledgements
from control_service.usecases.fleet.activation import Activation
from control_service.usecases.fleet.config_feed import ConfigFeed
from control_service.usecases.fleet.exchange_messages import ExchangeRequest, LeaseAnswer
from control_service.usecases.fleet.lease_exchange import ExchangeLeases
from control_service.usecases.fleet.lease_statement import LeaseStatement
from control_service.usecases.fleet.node_registration import NodeRegistration
from control_service.usecases.fleet.replica_memory import ReplicaMemory
from control_service.usecases.fleet.watcher import Update, Watcher
from control_service.usecases.fleet_ports import LeaseFilter
from control_service.usecases.pulse import Pulse
from control_service.usecases.resolve_credential import NO_CREDENTIALS, Credentials
from control_service.usecases.service_status import update_status
from control_service.usecases.upkeep.sweeper import Sweeper
from tallygate._server.clock import ManualClock

FLOOR = 1_000
METERING_DATABASE = "metering-database"
BEFORE_ALL = 0
"""Version and time of the price that a model has from the beginning; tests number theirs from 1."""


class Kit:
    """The fleet's use cases on one database and one clock that stands still."""

    def __init__(
        self, database: SqlDatabase, clock: ManualClock | None = None, credentials: Credentials = NO_CREDENTIALS
    ) -> None:
        self.database = database
        self.clock = clock or ManualClock()
        self.changes = ChangeSignal()
        self.memory, self.pulse = ReplicaMemory.empty(self.clock), Pulse(database, self.clock)
        self.feed = ConfigFeed(database, self.clock, self.changes, self.memory, credentials, pulse=self.pulse)
        self.exchange = ExchangeLeases(database, self.clock, self.changes, self.memory)
        self.activation = Activation(database, self.clock, self.changes, self.memory.liveness)
        self.acknowledgements = Acknowledgements(database, self.clock, self.feed, self.activation)
        self.registration = NodeRegistration(database, self.clock)
        self.sweeper = Sweeper(
            database, self.clock, self.changes, self.memory.liveness, self.activation, pulse=self.pulse
        )
        self._numbers = itertools.count(1)

    @property
    def now_us(self) -> int:
        return self.clock.now_us()

    async def account(self, account_id: str = "acme", *, funds: int = 0, credit: int = 0) -> Account:
        account = Account(
            account_id=account_id,
            uid=f"00000000-0000-0000-0000-{next(self._numbers):012}",
            display_name="",
            currency_code="USD",
            credit_limit_nanos=credit,
            overdue_floor_nanos=FLOOR,
            overdue_policy=OverduePolicy.STOP_ALL,
            create_us=self.now_us,
            update_us=self.now_us,
            funds_nanos=funds,
        )
        async with self.database.writing() as tx:
            await tx.accounts.add(account)
            await tx.next_config_version()
        return account

    async def model(self, model_id: str = "llama", *, priced: bool = True) -> None:
        model = Model(
            model_id=model_id,
            uid=f"00000000-0000-0000-0001-{next(self._numbers):012}",
            display_name="",
            currency_code="USD",
            smallest_request_tokens=16,
            create_us=self.now_us,
            update_us=self.now_us,
        )
        async with self.database.writing() as tx:
            await tx.models.add(replace(model, config_version=await tx.next_config_version()))
            if priced:
                await tx.models.add_price(replace(price(BEFORE_ALL, BEFORE_ALL), model_id=model_id))

    async def service(
        self,
        service_id: str = "chat",
        *,
        account_id: str = "acme",
        trial_tokens: int | None = None,
        trial_for_us: int | None = None,
        postpaid: bool = False,
        output_tpm: int = 0,
        overflow: OverflowPolicy = OverflowPolicy.BILL_BY_TOKEN,
        fleet_told: bool = True,
    ) -> Service:
        """A started service that the fleet knows of, with the payers that a test is about."""
        now_us = self.now_us
        trial = None
        if trial_tokens is not None:
            expire_us = None if trial_for_us is None else now_us + trial_for_us
            trial = Trial(quota_tokens=trial_tokens, smallest_tokens=16, claim_us=now_us, expire_us=expire_us)
        service = Service(
            account_id=account_id,
            service_id=service_id,
            uid=f"uid-{account_id}-{service_id}",
            model_id="llama",
            kind=ServiceKind.CUSTOM,
            trial=trial,
            postpaid=PostpaidState.ENABLED if postpaid else PostpaidState.NEVER_ENABLED,
            fleet_told=fleet_told,
            reservation_count=1 if output_tpm else 0,
        )
        async with self.database.writing() as tx:
            account = await tx.accounts.lock(account_id)
            if output_tpm:
                await tx.reservations.add(_reservation(service, output_tpm, overflow, now_us))
                bucket = Bucket.empty(now_us).rated(output_tpm, added_tokens=output_tpm)
                await tx.buckets.put(account_id, service.uid, PotKind.RESERVATION_OUTPUT, bucket)
            origin = Origin(EventCause.POSTPAID_ENABLED, Actor("user"), now_us)
            return await update_status(tx, account, service, origin, config_changed=True)

    async def change(self, service: Service, **facts: object) -> Service:
        """Another fact of a service, with all that follows."""
        async with self.database.writing() as tx:
            account = await tx.accounts.lock(service.account_id)
            found = await tx.services.find(service.account_id, service.service_id)
            assert found is not None
            changed = replace(found, **facts)  # type: ignore[arg-type]  # the test knows its facts
            origin = Origin(EventCause.SUSPENDED, Actor("operator"), self.now_us)
            return await update_status(tx, account, changed, origin, config_changed=True)

    async def node(self, name: str = "node-a", epoch: int = 1) -> "FleetNode":
        """A registered node."""
        await self.registration.register(name, epoch, METERING_DATABASE)
        return FleetNode(self, name, epoch)

    async def read_account(self, account_id: str = "acme") -> Account:
        async with self.database.reading() as tx:
            return await tx.accounts.get(account_id)

    async def read_service(self, service: Service) -> Service:
        async with self.database.reading() as tx:
            found = await tx.services.find(service.account_id, service.service_id)
        assert found is not None
        return found

    async def read_leases(self) -> list[Lease]:
        async with self.database.reading() as tx:
            named = await tx.leases.page(LeaseFilter(show_closed=True), (0, ""), 1_000)
        return [one.lease for one in named]

    async def read_bucket(self, service: Service) -> Bucket:
        async with self.database.reading() as tx:
            bucket = await tx.buckets.find(service.account_id, service.uid, PotKind.RESERVATION_OUTPUT)
        assert bucket is not None
        return bucket

    async def events(self, service: Service) -> list[ServiceEvent]:
        async with self.database.reading() as tx:
            return await tx.events.page(service.account_id, service.service_id, 0, 100)

    async def assert_conserved(self, *services: Service, account_id: str = "acme") -> None:
        """Leased is what leases have outstanding, spent is what was consumed on them; the ledger has the same."""
        leases = await self.read_leases()
        account = await self.read_account(account_id)
        money = [lease for lease in leases if lease.pot == PotKey.of(account_id, "", PotKind.MONEY)]
        assert account.leased_nanos == sum(lease.outstanding_units for lease in money)
        assert account.spent_nanos == sum(lease.consumed_units for lease in money)
        async with self.database.reading() as tx:
            lines = await tx.ledger.page(account_id, None, 0, 1_000)
        assert -account.spent_nanos == sum(line.amount_nanos for line in lines)
        for service in [await self.read_service(service) for service in services]:
            mine = [lease for lease in leases if lease.service_uid == service.uid]
            if service.trial is not None:
                trial = [lease for lease in mine if lease.kind is PotKind.TRIAL]
                assert service.trial.leased_tokens == sum(lease.outstanding_units for lease in trial)
                assert service.trial.spent_tokens == sum(lease.consumed_units for lease in trial)
                assert service.trial.held_tokens == sum(lease.held_units for lease in trial)
            if service.reservation_count:
                bucket = await self.read_bucket(service)
                rate = [lease for lease in mine if lease.kind is PotKind.RESERVATION_OUTPUT]
                assert bucket.leased_units == sum(lease.outstanding_units for lease in rate)
                assert bucket.spent_units == sum(lease.consumed_units for lease in rate)
                assert bucket.available_units + bucket.leased_units <= bucket.rate_tokens_per_minute


class FleetNode:
    """One epoch of a node."""

    def __init__(self, kit: Kit, name: str, epoch: int) -> None:
        self.kit = kit
        self.name = name
        self.epoch = epoch
        self.exchange_number = 0

    def lease_id(self, service: Service, kind: PotKind) -> str:
        return f"{self.name}-{self.epoch}-{service.service_id}-{kind}"

    def state(self, service: Service, kind: PotKind, **stated: int | bool) -> LeaseStatement:
        """The node's statement on the lease that it has, or wants, on this pot."""
        return LeaseStatement(
            node=self.name,
            epoch=self.epoch,
            service_name=service.name,
            service_uid=service.uid,
            kind=kind,
            statement=Statement(self.lease_id(service, kind), **stated),  # type: ignore[arg-type]  # levels are ints
        )

    async def exchange(
        self,
        *stated: LeaseStatement,
        number: int | None = None,
        acknowledged: int = 10**9,
        settled: int = 0,
        answered: int = 0,
        commit_no: int = 0,
    ) -> list[LeaseAnswer]:
        self.exchange_number += 1
        number = number or self.exchange_number
        request = ExchangeRequest(self.name, self.epoch, number, acknowledged, stated, settled, answered, commit_no)
        return await self.kit.exchange.exchange(request)

    async def exchange_one(self, service: Service, kind: PotKind, **stated: int | bool) -> LeaseAnswer:
        """An exchange about one lease."""
        (answer,) = await self.exchange(self.state(service, kind, **stated))
        return answer


def _reservation(service: Service, output_tpm: int, overflow: OverflowPolicy, now_us: int) -> Reservation:
    return Reservation(
        account_id=service.account_id,
        service_id=service.service_id,
        reservation_number=1,
        input_tokens_per_minute=0,
        output_tokens_per_minute=output_tpm,
        overflow_policy=overflow,
        paid_nanos=0,
        start_us=now_us,
        end_us=now_us + 86_400_000_000,
    )


def price(version: int, effective_us: int) -> Price:
    """A version of the price of `llama`."""
    return Price("llama", version, effective_us, 1, 2, 3, 4, 5, effective_us)


async def read(watcher: Watcher) -> Update:
    """The watcher's next message; nobody waits for a heartbeat here."""
    update = await watcher.next(0.001)
    assert update is not None
    return update
