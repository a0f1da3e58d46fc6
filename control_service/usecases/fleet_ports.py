"""What the fleet's use cases need of a transaction beyond what people's do: nodes, leases, and things in batches.

The rules for locks are those of `ports`; a node is locked before any account.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from control_service.domain.account import Account
from control_service.domain.bucket import Bucket
from control_service.domain.budget import BudgetKey
from control_service.domain.lease import Lease
from control_service.domain.model import Model
from control_service.domain.node import Node
from control_service.domain.price import Price
from control_service.domain.reservation import Reservation
from control_service.domain.service import Service


class ExchangePosition(NamedTuple):
    """The position of an exchange: its number, the last exchange that was answered, the last commit that is durable.

    An exchange follows what is known if no exchange of its number or a later one was taken, the answered one was, and
    no later commit was reported.
    """

    exchange_number: int
    answered_number: int
    commit_no: int


class Nodes(Protocol):
    """The metering nodes that ever said hello."""

    async def lock(self, name: str) -> Node | None:
        """The node, locked until the transaction ends; None if it never said hello."""

    async def save(self, node: Node) -> None:
        """Stores it, whether it was there or not; if it was, it was locked."""

    async def renew(self, name: str, epoch: int, position: ExchangePosition, now_us: int) -> Node | None:
        """Takes an exchange: locks and renews the node, if it has this epoch and the exchange follows what is known.

        Returns:
            The node with that, or None where it was not taken.
        """

    async def mark_settled(self, name: str, below_epoch: int) -> None:
        """Notes that nothing is open of the epochs below this one; the node is locked."""

    async def every(self) -> list[Node]:
        """All nodes that ever said hello."""

    async def page(self, after: str, limit: int) -> list[Node]:
        """Nodes whose name is greater than `after`, by name."""

    async def acknowledge(self, name: str, epoch: int, version: int, now_us: int) -> bool:
        """Notes that this epoch was heard from and has taken in a version; False if the node has another epoch now."""

    async def metering_database(self) -> str:
        """The id of the fleet's metering database; empty as long as no node said hello."""

    async def remember_database(self, database_id: str) -> str:
        """The id of the fleet's metering database: this one unless another was remembered before."""


@dataclass(frozen=True, slots=True)
class Recall:
    """A lease that its node was asked to return the free units of, and when."""

    node: str
    lease_id: str
    requested_us: int


@dataclass(frozen=True, slots=True)
class LeaseFilter:
    """Which leases to list; None for any."""

    account_id: str | None = None
    service_id: str | None = None
    node: str | None = None
    show_closed: bool = False


@dataclass(frozen=True, slots=True)
class NamedLease:
    """A lease with the id of its service, for people."""

    lease: Lease
    service_id: str


class Leases(Protocol):
    """Slices of budgets in the hands of nodes. Who changes one has locked its account."""

    async def find(self, keys: Collection[tuple[str, str]]) -> list[Lease]:
        """Those of these leases, by (account id, lease id), that are known."""

    async def with_free_units(self, budgets: Collection[BudgetKey]) -> list[Lease]:
        """Open leases on these budgets of which nodes, as they last said, do not hold all, by id."""

    async def put(self, leases: Collection[NamedLease]) -> None:
        """Stores them, whether they were there or not."""

    async def recall(self, keys: Collection[tuple[str, str]], now_us: int) -> None:
        """Notes that the free units of these, by (account id, lease id), are asked for."""

    async def recalled(self, nodes: Collection[str]) -> list[Recall]:
        """Open leases of these nodes that were recalled, and that they have not answered for."""

    async def open_on(self, nodes: Collection[str]) -> list[str]:
        """Those of these nodes that have open leases."""

    async def open_below(self, node: str, epoch: int, limit: int) -> list[NamedLease]:
        """Open leases of a node's epochs below this one, by (account id, lease id)."""

    async def delete_settled(self, before_us: int, limit: int) -> int:
        """Deletes closed leases, last spoken of before this moment, of epochs that are settled for good; how many."""

    async def page(self, wanted: LeaseFilter, after: tuple[int, str], limit: int) -> list[NamedLease]:
        """Leases whose (creation, id) is greater than `after`, in that order."""

    async def held(self, account_id: str) -> dict[BudgetKey, int]:
        """What open requests hold of each of an account's budgets, as nodes last said; budgets without any left out."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Money that one service spent, for the ledger."""

    account_id: str
    service_id: str
    service_uid: str
    amount_nanos: int


class Batches(Protocol):
    """Accounts, services and buckets in batches, for exchanges that touch many."""

    async def lock_accounts(self, account_ids: Collection[str]) -> dict[str, Account]:
        """Those of these accounts that exist, locked in order of their ids."""

    async def accounts(self, account_ids: Collection[str]) -> dict[str, Account]:
        """Those of these accounts that exist, as of now."""

    async def services(self, account_ids: Collection[str], uids: Collection[str]) -> list[Service]:
        """Stored services of these accounts with these uids, tombstones included."""

    async def reservations(self, services: Collection[Service], now_us: int) -> dict[str, list[Reservation]]:
        """Active reservations by uid of their service; services without any are left out."""

    async def buckets(self, keys: Collection[BudgetKey]) -> dict[BudgetKey, Bucket]:
        """Those of these buckets that exist, not refilled since they were stored."""

    async def save_money(self, accounts: Collection[Account]) -> None:
        """Stores what was spent and leased of each, its latch, and how long its ledger is."""

    async def save_trials(self, services: Collection[Service]) -> None:
        """Stores what was spent, leased and held of each one's trial."""

    async def save_buckets(self, buckets: Mapping[BudgetKey, Bucket]) -> None:
        """Stores each as it is now."""

    async def add_usage(
        self, accounts: Mapping[str, Account], usage: Collection[Usage], now_us: int
    ) -> dict[str, Account]:
        """Adds to the USAGE line of each service and the minute of `now_us`; the accounts with their ledgers' lengths.

        `usage` has one element for a service; the amounts lower the balance, and so are negative in the ledger.
        """


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since some version: services by (account id, service id), and models by id."""

    services: frozenset[tuple[str, str]]
    model_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Subjects:
    """All that the configurations of some services are made of; what is not in the database is left out."""

    accounts: Mapping[str, Account]
    services: Mapping[tuple[str, str], Service]
    reservations: Mapping[str, list[Reservation]]
    models: Mapping[str, Model]
    prices: Mapping[str, Price]


@dataclass(frozen=True, slots=True)
class Due:
    """What time alone changes: services by (account id, service id), models by id."""

    services: list[tuple[str, str]]
    model_ids: list[str]


class Configs(Protocol):
    """What nodes are told, read in batches, and what shall change it."""

    async def changes(self, since_version: int) -> Changes:
        """What came with a version greater than this one."""

    async def subjects(self, keys: Collection[tuple[str, str]], now_us: int) -> Subjects:
        """What these (account id, service id) are made of: their accounts, models, prices in force and reservations."""

    async def awaiting_fleet(self, version: int) -> list[tuple[str, str]]:
        """Services whose first activation came with this version or an earlier one, and is not latched yet."""

    async def reschedule_missed(self, now_us: int, due_us: int) -> int:
        """Finds what has a change to come that nobody waits for, and makes it due at `due_us`; how many there were.

        A clock that was ahead of this moment leaves such things: it dealt with the change, which has not come yet.
        """

    async def due(self, now_us: int, limit: int) -> Due:
        """What time has changed and nobody has dealt with: at most so many of each, the longest due first."""
