"""What nodes say in an exchange of leases, and what they are answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control_service.domain.recall import Availability
from control_service.usecases.fleet.lease_statement import LeaseStatement
from control_service.usecases.fleet_ports import Renewal
from tallygate._access.refusals import RefusedCalls


@dataclass(frozen=True, slots=True)
class ExchangeRequest:
    """One exchange as a node requests it.

    `answered_number` is the last exchange whose answer the metering database has, `commit_no` the last durable commit,
    both of this epoch. All leases of epochs below `settled_below_epoch` are settled. `refused`: calls that the node has
    refused and not told of yet.
    """

    node: str
    epoch: int
    exchange_number: int
    acknowledged_version: int
    statements: Sequence[LeaseStatement]
    settled_below_epoch: int = 0
    answered_number: int = 0
    commit_no: int = 0
    refused: Sequence[RefusedCalls] = ()

    @property
    def renewal(self) -> Renewal:
        """The request as the database judges it."""
        return Renewal(
            self.node,
            self.epoch,
            self.exchange_number,
            self.answered_number,
            self.commit_no,
            self.acknowledged_version,
        )


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    """The answer to one statement. `available_units` are what the pot could still grant now.

    `accrues_after_us` is the time until a rate has accrued the units needed; None where it never will, or no units are
    needed. Of slots it is the time until those of silent nodes come back at the earliest, where it takes these.
    """

    lease_id: str
    granted_units: int
    availability: Availability
    available_units: int = 0
    leased_elsewhere_units: int = 0
    accrues_after_us: int | None = None
    closed: bool = False
