"""What a what-if keeps of its control service: one account with its services, one node, and what both have on lease."""

from __future__ import annotations

from dataclasses import dataclass, field

from control_service.domain.account import Account
from control_service.domain.bucket import Bucket
from control_service.domain.lease import Lease
from control_service.domain.limit import Limit, LimitPotKey, LimitSubject
from control_service.domain.limit_pot import BudgetPot
from control_service.domain.model import Model
from control_service.domain.node import Node
from control_service.domain.pot import PotKey
from control_service.domain.price import Price
from control_service.domain.reservation import Reservation
from control_service.domain.rule_pot import RulePot
from control_service.domain.service import Service


@dataclass(slots=True)
class Tables:
    """Values by their keys. Values are frozen, so that nobody changes what is kept.

    Nothing is ever deleted, and no row of another epoch of the node comes up: there is one.
    """

    config_version: int = 0
    metering_database: str = ""
    accounts: dict[str, Account] = field(default_factory=dict)
    usage_minutes: dict[str, int] = field(default_factory=dict)
    """The minute of each service's last line of usage, by the service's uid; the lines themselves nobody reads."""
    models: dict[str, Model] = field(default_factory=dict)
    prices: list[Price] = field(default_factory=list)
    services: dict[tuple[str, str], Service] = field(default_factory=dict)
    service_keys: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """Where a service is in `services`, by its account and uid."""
    trial_owners: dict[tuple[str, str], str] = field(default_factory=dict)
    reservations: dict[tuple[str, str], list[Reservation]] = field(default_factory=dict)
    buckets: dict[PotKey, Bucket] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    leases: dict[tuple[str, str], Lease] = field(default_factory=dict)
    open_leases: dict[tuple[str, str], Lease] = field(default_factory=dict)
    """Leases that are not closed."""
    limits: dict[str, Limit] = field(default_factory=dict)
    limit_versions: dict[LimitSubject, int] = field(default_factory=dict)
    budget_pots: dict[LimitPotKey, BudgetPot] = field(default_factory=dict)
    rule_pots: dict[LimitPotKey, RulePot] = field(default_factory=dict)
