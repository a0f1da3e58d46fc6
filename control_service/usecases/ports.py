"""What use cases need of a database, and what each method owes them.

`Database` hands out transactions. A `Transaction` is open inside its `async with` and is undone if that ends with an
exception. Whoever changes anything of an account has locked that account first, in the same transaction; whoever locks
several, locks them in order of their ids; the configuration version comes after all of them. Whoever changes what
belongs to no account has locked the globals first, and locks no account after that.
"""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from control_service.domain.account import Account, LedgerEntry
from control_service.domain.bucket import Bucket
from control_service.domain.budget import BudgetKind
from control_service.domain.event import ServiceEvent
from control_service.domain.model import Model
from control_service.domain.price import Price
from control_service.domain.reservation import Reservation
from control_service.domain.service import Service
from control_service.usecases.fleet_ports import Batches, Configs, Leases, Nodes


class Accounts(Protocol):
    """All accounts."""

    async def lock(self, account_id: str) -> Account:
        """The account, locked until the transaction ends. Raises ResourceNotFoundError."""

    async def get(self, account_id: str) -> Account:
        """The account as of now. Raises ResourceNotFoundError."""

    async def add(self, account: Account) -> None:
        """Stores a new one. Raises ResourceExistsError if the id is taken."""

    async def save(self, account: Account) -> None:
        """Stores it as it is now; it was locked."""

    async def page(self, after: str, limit: int) -> list[Account]:
        """Accounts whose id is greater than `after`, by id."""


class Ledger(Protocol):
    """The lines of all accounts."""

    async def add(self, entry: LedgerEntry) -> None:
        """Stores a new line."""

    async def page(self, account_id: str, service_id: str | None, after: int, limit: int) -> list[LedgerEntry]:
        """Lines of the account, of one service if one is given, whose number is greater than `after`, by number."""


class Models(Protocol):
    """The catalogue with its prices."""

    async def find(self, model_id: str) -> Model | None:
        """The model as of now, if there is one."""

    async def get(self, model_id: str) -> Model:
        """The model as of now. Raises ResourceNotFoundError."""

    async def add(self, model: Model) -> None:
        """Stores a new one. Raises ResourceExistsError if the id, or one of its aliases, is taken."""

    async def save(self, model: Model) -> None:
        """Stores it as it is now; globals were locked. Raises ResourceExistsError if a new alias is taken."""

    async def page(self, after: str, limit: int) -> list[Model]:
        """Models whose id is greater than `after`, by id."""

    async def with_alias(self, alias: str) -> Model | None:
        """The model that has this alias, if one has."""

    async def add_price(self, price: Price) -> None:
        """Stores a new version; globals were locked."""

    async def prices(self, model_ids: list[str]) -> list[Price]:
        """All versions of these models."""

    async def in_force(self, model_ids: Collection[str], now_us: int) -> frozenset[str]:
        """Those of these models that have a price in force."""

    async def prices_page(self, model_id: str, before: int, limit: int) -> list[Price]:
        """Versions less than `before`, the newest first."""


@dataclass(frozen=True, slots=True)
class ServiceFilter:
    """Which stored services to list; None for any."""

    account_id: str | None = None
    model_id: str | None = None
    team: str | None = None
    show_deleted: bool = False


class Services(Protocol):
    """Stored services: those created, and default ones that somebody acted on."""

    async def find(self, account_id: str, service_id: str) -> Service | None:
        """The service, tombstones included, if it is stored."""

    async def add(self, service: Service) -> None:
        """Stores a new one. Raises ResourceExistsError if the name is or was in use."""

    async def save(self, service: Service) -> None:
        """Stores it as it is now; its account was locked."""

    async def page(self, wanted: ServiceFilter, after: tuple[str, str], limit: int) -> list[Service]:
        """Services whose (account id, service id) is greater than `after`, in that order."""

    async def with_postpaid(self, account_id: str) -> list[Service]:
        """The account's services, not deleted, that have pay-as-you-go enabled, by id."""

    async def priced_again(self, model_id: str, now_us: int, limit: int) -> list[tuple[str, str]]:
        """Up to so many of the model's services that were stopped by NO_PRICE, if it has a price in force now."""

    async def claim_trial(self, account_id: str, model_id: str, service_id: str, now_us: int) -> str:
        """The service that has this account's trial of this model: `service_id` unless one had claimed it before."""


class Reservations(Protocol):
    """Reservations of all services."""

    async def add(self, reservation: Reservation) -> None:
        """Stores a new one."""

    async def save(self, reservation: Reservation) -> None:
        """Stores it as it is now; its account was locked."""

    async def active(self, account_id: str, service_ids: Sequence[str], now_us: int) -> dict[str, list[Reservation]]:
        """Active reservations of these services, by service id; services without any are left out."""

    async def get(self, account_id: str, service_id: str, number: int) -> Reservation | None:
        """One reservation, if there is one."""

    async def page(self, account_id: str, service_id: str, after: int, limit: int) -> list[Reservation]:
        """A service's reservations whose number is greater than `after`, by number."""


class Buckets(Protocol):
    """Rate buckets, two for each service that ever had a reservation."""

    async def find(self, account_id: str, service_uid: str, kind: BudgetKind) -> Bucket | None:
        """The bucket as it was stored, not refilled since; None if there never was one."""

    async def put(self, account_id: str, service_uid: str, kind: BudgetKind, bucket: Bucket) -> None:
        """Stores it, whether it was there or not; its account was locked."""


class Events(Protocol):
    """What happened to services."""

    async def add(self, event: ServiceEvent) -> None:
        """Stores a new one."""

    async def page(self, account_id: str, service_id: str, after: int, limit: int) -> list[ServiceEvent]:
        """A service's events whose number is greater than `after`, by number."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The response to a call with an idempotency key, and the hash of the call's request."""

    request_hash: bytes
    response: bytes


class StoredResponses(Protocol):
    """Responses by idempotency key. `scope` is an account's id, or empty for what belongs to no account."""

    async def find(self, scope: str, method: str, key: str) -> StoredResponse | None:
        """The response that is kept under this key; None if there is none."""

    async def keep(self, scope: str, method: str, key: str, response: StoredResponse, now_us: int) -> None:
        """Keeps a response."""

    async def delete(self, before_us: int, limit: int) -> int:
        """Deletes responses that were kept before this moment, the oldest first, at most `limit`.

        Returns:
            How many were deleted.
        """


class Transaction(Protocol):
    """One transaction, and through it everything that is stored."""

    accounts: Accounts
    ledger: Ledger
    models: Models
    services: Services
    reservations: Reservations
    buckets: Buckets
    events: Events
    responses: StoredResponses
    nodes: Nodes
    leases: Leases
    batches: Batches
    configs: Configs

    async def lock_globals(self) -> None:
        """Locks what belongs to no account: the catalogue, the names of accounts. Comes before everything else."""

    async def next_config_version(self) -> int:
        """A new configuration version, the same however often it is asked within one transaction.

        From then on no other transaction gets one until this one ends: so versions become visible in their order.
        """

    async def config_version(self) -> int:
        """The newest version that is committed, or this transaction's own."""


class Database(Protocol):
    """Where transactions come from. All their methods raise StorageUnavailableError when the database fails."""

    def writing(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that may change things; committed at the end."""

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that sees one moment and changes nothing."""
