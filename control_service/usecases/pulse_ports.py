"""What a replica at rest must know of the database, and what tells it that nothing was committed."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol


class NodeSigns(NamedTuple):
    """By what it is told whether a node is heard, and whether it renews its leases: see `node_liveness`."""

    name: str
    epoch: int
    leases_kept_us: int | None
    heard_count: int
    exchange_number: int


@dataclass(frozen=True, slots=True)
class Glance:
    """The database in one small read. Times are by the wall clock.

    `last_recall_us`: when an open lease was recalled last. `first_due_us`: when the first service or model is due.
    `awaits_fleet`: whether any service is in activation. `first_delivery_us`: when the first delivery is due.
    """

    config_version: int
    last_recall_us: int | None
    first_due_us: int | None
    awaits_fleet: bool
    first_delivery_us: int | None
    nodes: tuple[NodeSigns, ...]


class PulsePort(Protocol):
    """The part of a database that a replica at rest asks."""

    def stamp(self) -> int | None:
        """Another number whenever anything was committed, by this process or another; None where that is not known."""

    async def glance(self) -> Glance:
        """What is committed now. Raises StorageUnavailableError."""
