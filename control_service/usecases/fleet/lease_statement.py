"""Statements on leases as nodes make them in exchanges, and as a recovery after a restore makes them."""

from __future__ import annotations

from dataclasses import dataclass

from control_service.domain.lease import Statement
from control_service.domain.limit import LimitPotKey
from control_service.domain.names import MalformedNameError, parse_service, service_name
from control_service.domain.pot import PotKind
from control_service.usecases.fleet_ports import NamedLease


@dataclass(frozen=True, slots=True)
class LeaseStatement:
    """A statement with all that identifies its lease: node and epoch, kind of pot, the service or the limit's pot."""

    node: str
    epoch: int
    service_name: str
    service_uid: str
    kind: PotKind
    statement: Statement
    limit: LimitPotKey | None = None

    @property
    def account_id(self) -> str | None:
        """The account of the pot; None where the service's name is none."""
        if self.limit is not None:
            return self.limit.account_id
        try:
            return parse_service(self.service_name)[0]
        except MalformedNameError:
            return None


def closing(named: NamedLease) -> LeaseStatement:
    """The statement that closes a lease at the counters that are known."""
    lease = named.lease
    return LeaseStatement(
        node=lease.node,
        epoch=lease.epoch,
        service_name=service_name(lease.account, named.service_id) if named.service_id else "",
        service_uid=lease.service_uid,
        kind=lease.kind,
        statement=Statement(lease.lease_id, closing=True),
        limit=lease.limit,
    )
