"""The content of one commit of the metering database."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from metering_service.domain.counts_page import CountsPage
from metering_service.domain.kept_units import Kept
from metering_service.domain.lease import Lease
from metering_service.domain.records import (
    AggregateDelta,
    AggregateKey,
    CommitBatch,
    DenialKey,
    LeaseRecord,
    RequestKey,
    RequestRecord,
)
from metering_service.domain.request import Request
from metering_service.usecases.state.service_state import ServiceState

UnauthorisedFinish: TypeAlias = tuple[ServiceState, Request]
Callbacks: TypeAlias = dict[Callable[[], None], None]
"""Each is called once: see `add_callback`."""


@dataclass(slots=True)
class PendingCommit:
    """What goes into one commit, and who wants to know when it is done."""

    number: int = 1
    requests: dict[RequestKey, RequestRecord] = field(default_factory=dict)
    notes: dict[RequestKey, RequestRecord] = field(default_factory=dict)
    unauthorised: list[tuple[UnauthorisedFinish, RequestRecord]] = field(default_factory=list)
    revised: dict[RequestKey, int] = field(default_factory=dict)
    counts: list[CountsPage] = field(default_factory=list)
    leases: dict[str, Lease] = field(default_factory=dict)
    kept: list[tuple[ServiceState, Request, Kept]] = field(default_factory=list)
    lease_records: dict[str, LeaseRecord] = field(default_factory=dict)
    aggregates: dict[AggregateKey, AggregateDelta] = field(default_factory=dict)
    denials: dict[DenialKey, int] = field(default_factory=dict)
    rechecks: set[RequestKey] = field(default_factory=set)
    rechecked: set[tuple[int, RequestKey]] = field(default_factory=set)
    callbacks: list[Callable[[], None]] = field(default_factory=list)
    durable_callbacks: Callbacks = field(default_factory=dict)
    first_us: int | None = None

    def batch(self, commit_no: int) -> CommitBatch:
        """As the storage takes it."""
        return CommitBatch(
            commit_no,
            tuple(self.requests.values()),
            tuple(self.counts),
            tuple(self.lease_records.values()),
            tuple(self.aggregates.items()),
            tuple(self.denials.items()),
            notes=tuple(self.notes.values()),
            revised=tuple(self.revised.items()),
            rechecks=tuple(self.rechecks),
            rechecked=tuple(self.rechecked),
            unauthorised=tuple(record for _, record in self.unauthorised),
        )

    def __bool__(self) -> bool:
        work = (
            self.requests,
            self.notes,
            self.unauthorised,
            self.counts,
            self.leases,
            self.lease_records,
            self.denials,
        )
        return any(work) or any((self.rechecks, self.rechecked, self.callbacks, self.durable_callbacks))

    @property
    def backlog(self) -> int:
        """How many bookings are in it."""
        return len(self.requests) + len(self.unauthorised)


def add_callback(durable_callbacks: Callbacks, callback: Callable[[], None]) -> None:
    """Have it called with the others; where it is among them already, at once: its owner counts these calls.

    So a message that says one thing many times waits for it once, and what waits does not grow with what is repeated.
    """
    if callback in durable_callbacks:
        callback()
    else:
        durable_callbacks[callback] = None
