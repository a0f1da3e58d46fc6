"""Ports: what use cases need of a database, and what each method owes them.

`Database` opens transactions. A `Transaction` is open inside its `async with`, and is rolled back if an exception ends
the block.

Locks are taken in one order. A change to an account locks the account first, in the same transaction; several accounts
are locked in order of their ids; the configuration version is taken after all of them. Nodes are locked before any
account, several of them in order of their names. A change to what belongs to no
account locks the globals first, and locks no account after that.
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from control_service.domain.account import Account
from control_service.domain.bucket import Bucket
from control_service.domain.event import ServiceEvent
from control_service.domain.ledger import LedgerEntry, LedgerEntryKind
from control_service.domain.ledger_span import LedgerSpan
from control_service.domain.model import Model
from control_service.domain.period import Period
from control_service.domain.pot import PotKind
from control_service.domain.price import Price
from control_service.domain.reservation import Reservation
from control_service.domain.service import Service
from control_service.domain.statement import StatementLine, StatementQuery
from control_service.domain.status import Status
from control_service.domain.team import Team
from control_service.usecases.access_ports import AccessTokens, AccessVersions, Bindings, Principals, ServiceAccounts
from control_service.usecases.alert_ports import Alerts, Deliveries, Webhooks
from control_service.usecases.audit_ports import AuditEntries
from control_service.usecases.fleet_ports import Batches, Configs, Leases, LimitPots, Nodes
from control_service.usecases.key_ports import ApiKeys
from control_service.usecases.limit_ports import Budgets, Limits, RateRules, RulePots
from control_service.usecases.pulse_ports import PulsePort
from tallygate._access.rights import SEES_ALL, Sight
from tallygate._server.page_keys import PageKey


class Accounts(Protocol):
    """All accounts."""

    async def lock(self, account_id: str) -> Account:
        """The account, locked until the transaction ends. Raises ResourceNotFoundError."""

    async def get(self, account_id: str) -> Account:
        """The account as of now. Raises ResourceNotFoundError."""

    async def add(self, account: Account) -> None:
        """Stores a new account. Raises ResourceExistsError if the id is taken."""

    async def save(self, account: Account) -> None:
        """Stores the account as it is now; it was locked."""

    async def first_create_us(self) -> int | None:
        """When the first account was created; None where there is none."""

    async def page(self, after: str, limit: int, sight: Sight = SEES_ALL) -> list[Account]:
        """Accounts that are seen as a whole, whose id is greater than `after`, by id."""


class Ledger(Protocol):
    """The ledger lines of all accounts."""

    async def add(self, entry: LedgerEntry) -> None:
        """Stores a new line."""

    async def page(
        self, account_id: str, service_id: str | None, after: int, limit: int, *, newest_first: bool = False
    ) -> list[LedgerEntry]:
        """Lines of the account, or of one of its services, by number, from the one behind `after` in that order."""

    async def sums(self, query: StatementQuery, period: Period, limit: int) -> list[StatementLine]:
        """The lines of a period as far as the query sees them, added up by kind and by what it asks for."""

    async def total_since(self, account_id: str, start_us: int, kind: LedgerEntryKind | None = None) -> int:
        """The sum of the account's lines, or of those of a kind, that were opened at this moment or later."""

    async def roll_up(self, span: LedgerSpan, after: tuple[str, str], limit: int) -> tuple[str, str] | None:
        """Adds up usage lines of some services after that one, by account and name: at most `limit` of each.

        Returns:
            After which service to go on; None at the end.
        """


class Models(Protocol):
    """The catalogue with its prices."""

    async def find(self, model_id: str) -> Model | None:
        """The model as of now; None if there is none."""

    async def get(self, model_id: str) -> Model:
        """The model as of now. Raises ResourceNotFoundError."""

    async def add(self, model: Model) -> None:
        """Stores a new model. Raises ResourceExistsError if the id, or one of its aliases, is taken."""

    async def save(self, model: Model) -> None:
        """Stores the model as it is now; globals were locked. Raises ResourceExistsError if a new alias is taken."""

    async def page(self, after: str, limit: int) -> list[Model]:
        """Models whose id is greater than `after`, by id."""

    async def among(self, model_ids: Collection[str]) -> list[Model]:
        """Those of these models that there are."""

    async def with_alias(self, alias: str) -> Model | None:
        """The model that has this alias; None if none has."""

    async def known(self, model_ids: Collection[str]) -> frozenset[str]:
        """Those of these ids that are of a model."""

    async def called(self, texts: Collection[str]) -> dict[str, str]:
        """The ids of the models that these texts mean, by text: an id, or else an alias. Others are left out."""

    async def names_of(self, model_ids: Collection[str]) -> frozenset[str]:
        """The aliases of these models."""

    async def add_price(self, price: Price) -> None:
        """Stores a new price version; globals were locked."""

    async def price(self, model_id: str, version: int) -> Price | None:
        """This version, withdrawn or not; None if there is none."""

    async def withdraw_price(self, price: Price) -> None:
        """Keeps a version as withdrawn; globals were locked."""

    async def prices(self, model_ids: list[str]) -> list[Price]:
        """All versions of these models, without those that were withdrawn."""

    async def in_force(self, model_ids: Collection[str], now_us: int) -> frozenset[str]:
        """The ids of those of these models that have a price in force."""

    async def prices_page(self, model_id: str, before: int, limit: int) -> list[Price]:
        """The model's price versions less than `before`, withdrawn ones included, the newest first."""


class Teams(Protocol):
    """The teams of all accounts. A change to one locks its account first."""

    async def find(self, account_id: str, team_id: str) -> Team | None:
        """The team, tombstones included; None if there never was one."""

    async def add(self, team: Team) -> None:
        """Stores a new team. Raises ResourceExistsError if the name is or was in use."""

    async def save(self, team: Team) -> None:
        """Stores the team as it is now; its account was locked."""

    async def count(self, account_id: str) -> int:
        """Number of the account's teams that are not deleted."""

    async def page(self, wanted: "TeamFilter", after: str, limit: int) -> list[Team]:
        """Teams whose id is greater than `after`, by id."""


@dataclass(frozen=True, slots=True)
class TeamFilter:
    """The teams to list. `team_ids`: those that may be seen; None where all of the account may."""

    account_id: str
    show_deleted: bool = False
    team_ids: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ServiceFilter:
    """The stored services to list, of those that are seen; None for any. `told_status`: the status as it was stored."""

    account_id: str | None = None
    model_id: str | None = None
    team: str | None = None
    told_status: Status | None = None
    show_deleted: bool = False
    sight: Sight = SEES_ALL


class Services(Protocol):
    """Stored services: those created, and default ones that somebody acted on."""

    async def find(self, account_id: str, service_id: str) -> Service | None:
        """The service, tombstones included; None if it is not stored."""

    async def add(self, service: Service) -> None:
        """Stores a new service. Raises ResourceExistsError if the name is or was in use."""

    async def save(self, service: Service) -> None:
        """Stores the service as it is now; its account was locked."""

    async def page(self, wanted: ServiceFilter, after: tuple[str, str], limit: int) -> list[Service]:
        """Services whose (account id, service id) is greater than `after`, in that order."""

    async def among(self, account_id: str, service_ids: Collection[str]) -> list[Service]:
        """Those of these services that are stored, tombstones included."""

    async def team_of(self, account_id: str, service_id: str) -> str:
        """The id of the service's team; empty where it has none, or is not stored."""

    async def in_team(self, account_id: str, team_id: str) -> str | None:
        """The id of a service, not deleted, that belongs to the team; None if there is none."""

    async def with_postpaid(self, account_id: str) -> list[Service]:
        """The account's services, not deleted, that have pay-as-you-go enabled, by id."""

    async def of_account(self, account_id: str) -> list[Service]:
        """The account's services that are not deleted, by id."""

    async def behind_model(self, model_id: str, now_us: int, limit: int) -> list[tuple[str, str]]:
        """Services of the model, at most `limit`, whose stored status is behind it.

        NO_PRICE stopped them and a price is in force; or the model was retired, or restored, since.
        """

    async def claim_trial(self, account_id: str, model_id: str, service_id: str, now_us: int) -> str:
        """Claims this account's trial of this model for a service, unless another service has it.

        Returns:
            The id of the service that has the trial.
        """

    async def trial_owners(self, claims: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The ids of the services that have the trials of these accounts and models; those not claimed are left out."""


class Reservations(Protocol):
    """Reservations of all services."""

    async def add(self, reservation: Reservation) -> None:
        """Stores a new reservation."""

    async def save(self, reservation: Reservation) -> None:
        """Stores the reservation as it is now; its account was locked."""

    async def active(self, account_id: str, service_ids: Sequence[str], now_us: int) -> dict[str, list[Reservation]]:
        """Active reservations of these services, by service id; services without any are left out."""

    async def get(self, account_id: str, service_id: str, number: int) -> Reservation | None:
        """The service's reservation of this number; None if there is none."""

    async def page(self, account_id: str, service_id: str, after: int, limit: int) -> list[Reservation]:
        """A service's reservations whose number is greater than `after`, by number."""


class Buckets(Protocol):
    """Rate buckets, two for each service that ever had a reservation."""

    async def find(self, account_id: str, service_uid: str, kind: PotKind) -> Bucket | None:
        """The bucket as stored, not refilled since; None if there never was one."""

    async def put(self, account_id: str, service_uid: str, kind: PotKind, bucket: Bucket) -> None:
        """Stores the bucket, whether or not it was stored before; its account was locked."""


class Events(Protocol):
    """The events of all services."""

    async def add(self, event: ServiceEvent) -> None:
        """Stores a new event."""

    async def delete(self, before_us: int, limit: int) -> int:
        """Deletes events that happened before this moment, the oldest first, at most `limit`.

        Returns:
            How many were deleted.
        """

    async def page(
        self, account_id: str, service_id: str, after: int, limit: int, *, newest_first: bool = False
    ) -> list[ServiceEvent]:
        """A service's events by number, from the one behind `after` in that order."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The response to a call with an idempotency key, and the hash of the call's request."""

    request_hash: bytes
    response: bytes


@dataclass(frozen=True, slots=True)
class ResponseKey:
    """The key of a stored response: each caller's own in each account, so that no caller is answered with another's.

    `scope` is an account's id, or empty for what belongs to no account; `method` is the RPC's name without its service.
    """

    scope: str
    principal: str
    method: str
    idempotency_key: str


class StoredResponses(Protocol):
    """Responses by idempotency key."""

    async def find(self, key: ResponseKey) -> StoredResponse | None:
        """The response that is kept under this key; None if there is none."""

    async def keep(self, key: ResponseKey, response: StoredResponse, now_us: int) -> None:
        """Keeps a response."""

    async def delete(self, before_us: int, limit: int) -> int:
        """Deletes responses that were kept before this moment, the oldest first, at most `limit`.

        Returns:
            How many were deleted.
        """


class PageKeyStore(Protocol):
    """The keys that sign page tokens, of all replicas."""

    async def all(self) -> list[PageKey]:
        """All keys, by number."""

    async def add(self, key: PageKey) -> None:
        """Stores a new key, unless there is one of that number."""

    async def delete_below(self, number: int) -> None:
        """Deletes the keys of lower numbers."""


class Transaction(Protocol):
    """One transaction, with access to everything that is stored."""

    accounts: Accounts
    ledger: Ledger
    models: Models
    teams: Teams
    services: Services
    reservations: Reservations
    buckets: Buckets
    events: Events
    responses: StoredResponses
    page_keys: PageKeyStore
    audit: AuditEntries
    alerts: Alerts
    webhooks: Webhooks
    deliveries: Deliveries
    nodes: Nodes
    leases: Leases
    limit_pots: LimitPots
    batches: Batches
    configs: Configs
    principals: Principals
    service_accounts: ServiceAccounts
    access_tokens: AccessTokens
    bindings: Bindings
    access_versions: AccessVersions
    api_keys: ApiKeys
    rate_rules: RateRules
    budgets: Budgets
    limits: Limits
    rule_pots: RulePots

    async def lock_globals(self) -> None:
        """Locks what belongs to no account: the catalogue, the names of accounts. This lock comes before all others."""

    async def next_config_version(self) -> int:
        """The new configuration version of this transaction: the first call takes it, later calls return the same.

        No other transaction gets a version until this one ends, so that versions become visible in their order.
        """

    async def config_version(self) -> int:
        """The newest version that is committed, or this transaction's own."""


class Database(PulsePort, Protocol):
    """Opens transactions. Every method of a transaction raises StorageUnavailableError when the database fails."""

    def writing(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that may change rows, and is committed at the end of its block."""

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that sees one moment and changes nothing."""
