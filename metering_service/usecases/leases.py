"""The leases of a node: which services have some, and whose each of them is."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from metering_service.domain.pool import Pool
from metering_service.domain.records import BudgetKind

if TYPE_CHECKING:
    from metering_service.usecases.service_state import ServiceState


class Leases:
    """Finds, by what control calls them, those services that have leases: far fewer than are known.

    All services of a node share one, so that one that is merely known takes nothing for what it may have.
    """

    __slots__ = ("_new_id", "by_lease_id", "by_uid", "moved", "services")

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self.services: dict[str, ServiceState] = {}
        """By name: those that have leases, or had some a moment ago."""
        self.moved: dict[str, ServiceState] = {}
        """Those with something to say of their leases, or to which something happened since there last was nothing."""
        self.by_lease_id: dict[str, ServiceState] = {}
        self.by_uid: dict[str, ServiceState] = {}

    def open(self, service: "ServiceState", kind: BudgetKind) -> Pool:
        """A new lease, with nothing granted yet."""
        pool = Pool(self._new_id(), service.name, service.uid, kind)
        self.services[service.name] = self.by_uid[service.uid] = self.by_lease_id[pool.lease_id] = service
        return pool

    def forget(self, pool: Pool) -> None:
        """Nothing more will be said of a lease."""
        del self.by_lease_id[pool.lease_id]

    def forget_service(self, service: "ServiceState") -> None:
        """It has no lease any more."""
        del self.services[service.name]
        self.by_uid.pop(service.uid, None)
