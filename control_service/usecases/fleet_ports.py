"""Ports of the fleet: what its use cases need of a transaction besides `ports`: nodes, leases, and rows in batches.

The rules for locks are those of `ports`; a node is locked before any account.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from control_service.domain.account import Account
from control_service.domain.bucket import Bucket
from control_service.domain.lease import Lease
from control_service.domain.limit import LimitPotKey
from control_service.domain.limit_pot import BudgetPot
from control_service.domain.model import Model
from control_service.domain.node import Node
from control_service.domain.pot import PotKey
from control_service.domain.price import Price
from control_service.domain.reservation import Reservation
from control_service.domain.service import Service


class Renewal(NamedTuple):
    """An exchange by which a node renews its leases: its position, and the configuration that the node acknowledged.

    The position: its number, the last exchange that was answered, the last commit that is durable. An exchange follows
    what is known if no exchange of its number or a later one was taken, the answered one was, and no later commit was
    reported.
    """

    node: str
    epoch: int
    exchange_number: int
    answered_number: int
    commit_no: int
    acknowledged_version: int


class Nodes(Protocol):
    """All metering nodes that ever registered."""

    async def lock_all(self, names: Collection[str]) -> dict[str, Node]:
        """Those of these nodes that ever registered, by name, locked in order of their names."""

    async def lock(self, name: str) -> Node | None:
        """The node, locked until the transaction ends; None if it never registered."""

    async def save(self, node: Node) -> None:
        """Stores the node, whether or not it was stored before; a stored one was locked."""

    async def renew(self, renewals: Collection[Renewal], expected_version: int, now_us: int) -> frozenset[str]:
        """Takes exchanges of different nodes, which are locked, and renews their leases.

        An exchange is taken if the epoch is its node's own, its position follows, and the node has acknowledged
        `expected_version`, by its row or by the exchange itself.

        Returns:
            The names of the nodes whose exchanges were taken.
        """

    async def mark_settled(self, name: str, below_epoch: int) -> None:
        """Notes that no lease of the epochs below this one is open; the node is locked."""

    async def every(self) -> list[Node]:
        """All nodes."""

    async def find(self, names: Collection[str]) -> dict[str, Node]:
        """Those of these nodes that are known, by name."""

    async def page(self, after: str, limit: int) -> list[Node]:
        """Nodes whose name is greater than `after`, by name."""

    async def acknowledge(self, acknowledged: Mapping[tuple[str, int], int], now_us: int) -> frozenset[tuple[str, int]]:
        """Notes a sign of life of these epochs, by (name, epoch), and the version that each acknowledged.

        Their nodes are locked first, in order of their names.

        Returns:
            Those of the epochs that are still their nodes' own.
        """

    async def metering_database(self) -> str:
        """The id of the fleet's metering database; empty until a node registers."""

    async def remember_database(self, database_id: str) -> str:
        """The id of the fleet's metering database: the first that was ever given here."""


@dataclass(frozen=True, slots=True)
class Recall:
    """A lease whose node was requested to return its free units, and when."""

    node: str
    lease_id: str
    requested_us: int


@dataclass(frozen=True, slots=True)
class LeaseFilter:
    """The leases to list; None for any."""

    account_id: str | None = None
    service_id: str | None = None
    node: str | None = None
    show_closed: bool = False


@dataclass(frozen=True, slots=True)
class NamedLease:
    """A lease with the id of its service, for people; empty where it is a slice of a limit's pot."""

    lease: Lease
    service_id: str


class Leases(Protocol):
    """Slices of pots in the hands of nodes. A change to a lease locks its account first."""

    async def find(self, keys: Collection[tuple[str, str]]) -> list[Lease]:
        """Those of these leases, by (account id, lease id), that are known."""

    async def with_free_units(self, pots: Collection[PotKey]) -> list[Lease]:
        """Open leases on these pots that have free units, by id."""

    async def open_of_limits(self, pots: Collection[LimitPotKey]) -> list[Lease]:
        """Open leases on these pots of limits, in no order."""

    async def put(self, leases: Collection[NamedLease]) -> None:
        """Stores these leases, whether or not they were stored before."""

    async def save_counters(self, leases: Collection[Lease]) -> None:
        """Stores the units of these leases, and when they changed. They are stored, and nothing else has changed."""

    async def recall(self, keys: Collection[tuple[str, str]], now_us: int) -> None:
        """Notes that the free units of these leases, by (account id, lease id), are recalled."""

    async def recalled(self, nodes: Collection[str]) -> list[Recall]:
        """Recalls of these nodes' open leases that no statement has ended."""

    async def open_on(self, nodes: Collection[str]) -> list[str]:
        """Those of these nodes that have open leases."""

    async def open_below(self, node: str, epoch: int, limit: int) -> list[NamedLease]:
        """Open leases of a node's epochs below this one, by (account id, lease id)."""

    async def left_behind(
        self, node: str, epoch: int, services: Collection[tuple[str, str]], limits: Collection[tuple[str, str]]
    ) -> list[Lease]:
        """Open leases of a node's epochs below this one for these services, or on these limits; newest epoch first.

        Args:
            node: whose.
            epoch: the one that was begun.
            services: each by its account and uid.
            limits: each by its account and uid.
        """

    async def delete_settled(self, before_us: int, limit: int) -> int:
        """Deletes closed leases of settled epochs whose last statement came before this moment, at most `limit`.

        Returns:
            How many were deleted.
        """

    async def page(self, wanted: LeaseFilter, after: tuple[int, str], limit: int) -> list[NamedLease]:
        """Leases whose (creation, id) is greater than `after`, in that order."""

    async def held(self, account_id: str) -> dict[PotKey, int]:
        """Units that open requests hold of an account's pots, by the nodes' last statements. Zeros are left out."""


class LimitPots(Protocol):
    """The pots of budgets. A change to one locks its account first."""

    async def find(self, keys: Collection[LimitPotKey]) -> dict[LimitPotKey, BudgetPot]:
        """Those of these pots that exist, by key: any that was ever leased from and is not deleted."""

    async def put(self, pots: Collection[BudgetPot]) -> None:
        """Stores these pots, whether or not they were stored before."""

    async def page(self, after: LimitPotKey, limit: int) -> list[BudgetPot]:
        """Pots of the same account whose key is greater than `after`, by key."""

    async def most_spent(self, of_period: LimitPotKey, limit: int) -> dict[str, int]:
        """What is spent of a limit's pots of one period, by member, whatever member `of_period` has.

        Of at most `limit` pots: those of which most is spent.
        """

    async def delete_ended(self, before_us: int, limit: int) -> int:
        """Deletes pots whose period or budget ended before this moment, and that no lease had a statement on since.

        One that an open lease is a slice of stays.

        Returns:
            How many were deleted, at most `limit`.
        """


@dataclass(frozen=True, slots=True)
class Usage:
    """The money that one service spent, for the ledger. `team`: that of the service, empty for none."""

    account_id: str
    service_id: str
    service_uid: str
    amount_nanos: int
    team: str = ""


class Batches(Protocol):
    """Accounts, services and buckets in batches, for exchanges over many leases and for lists."""

    async def lock_accounts(self, account_ids: Collection[str]) -> dict[str, Account]:
        """Those of these accounts that exist, locked in order of their ids."""

    async def accounts(self, account_ids: Collection[str]) -> dict[str, Account]:
        """Those of these accounts that exist, as of now."""

    async def services(self, keys: Collection[tuple[str, str]]) -> list[Service]:
        """Stored services by account and uid, tombstones included."""

    async def reservations(self, services: Collection[Service], now_us: int) -> dict[str, list[Reservation]]:
        """Active reservations by uid of their service; services without any are left out."""

    async def buckets(self, keys: Collection[PotKey]) -> dict[PotKey, Bucket]:
        """Those of these buckets that exist, not refilled since they were stored."""

    async def save_money(self, accounts: Collection[Account]) -> None:
        """Stores the money spent and leased, the latch and the ledger's length of these accounts."""

    async def save_trials(self, services: Collection[Service]) -> None:
        """Stores the tokens spent, leased and held of these services' trials."""

    async def save_buckets(self, buckets: Mapping[PotKey, Bucket]) -> None:
        """Stores these buckets as they are now."""

    async def add_usage(
        self, accounts: Mapping[str, Account], usage: Collection[Usage], now_us: int
    ) -> dict[str, Account]:
        """Adds usage to the USAGE line of each service and the minute of `now_us`.

        Args:
            accounts: the accounts of these services, locked.
            usage: one element for a service. Amounts lower the balance, and so are negative in the ledger.
            now_us: the moment of the settlement.

        Returns:
            The accounts with the new lengths of their ledgers.
        """


@dataclass(frozen=True, slots=True)
class Changes:
    """Services, by (account id, service id), and models, by id, that changed since a version."""

    services: frozenset[tuple[str, str]]
    model_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Subjects:
    """The rows that the configurations of some services are made of; what is not stored is left out."""

    accounts: Mapping[str, Account]
    services: Mapping[tuple[str, str], Service]
    reservations: Mapping[str, list[Reservation]]
    models: Mapping[str, Model]
    prices: Mapping[str, Price]


@dataclass(frozen=True, slots=True)
class Due:
    """What time alone has changed: services, models, and budgets whose raise has ended; of an account with its id."""

    services: list[tuple[str, str]]
    model_ids: list[str]
    raises: list[tuple[str, str]]


class Configs(Protocol):
    """Configurations of services for nodes, read in batches, and the changes to them that are due."""

    async def changes(self, since_version: int) -> Changes:
        """Services and models whose version is greater than this one."""

    async def subjects(self, keys: Collection[tuple[str, str]], now_us: int) -> Subjects:
        """Accounts, services, models, prices in force and reservations of these (account id, service id)."""

    async def awaiting_fleet(self, version: int) -> list[tuple[str, str]]:
        """Services in activation that were first started with this version or an earlier one."""

    async def reschedule_missed(self, now_us: int, due_us: int) -> int:
        """Makes services and models due at `due_us` that have a change to come which their due moment misses.

        Ends of raises that are still to come are due when they come.

        A clock that was ahead leaves such rows: it has dealt with a change that is still to come.

        Returns:
            How many rows were rescheduled.
        """

    async def due(self, now_us: int, limit: int) -> Due:
        """Services and models that are due at this moment, at most `limit` of each, the longest due first."""
