"""The outcome of a what-if: what each service used, who paid, what was denied, and when something was over."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from metering_service.domain.counts import Counts
from metering_service.domain.records import WOULD_DENY, DenialKey, RequestRecord
from tallygate.whatif.cheapest import Cheapest

MINUTE_US = 60_000_000


@dataclass(slots=True)
class Paid:
    """Sums of receipts: tokens by payer, and their cost."""

    reserved: Counts = field(default_factory=Counts)
    trial: Counts = field(default_factory=Counts)
    billed: Counts = field(default_factory=Counts)
    unfunded: Counts = field(default_factory=Counts)
    cost_nanos: int = 0
    debt_nanos: int = 0

    def add(self, record: RequestRecord) -> None:
        """Adds one booking."""
        receipt = record.receipt
        self.reserved += receipt.reserved
        self.trial += receipt.trial
        self.billed += receipt.billed
        self.unfunded += receipt.unfunded
        self.cost_nanos += receipt.cost_nanos
        self.debt_nanos += receipt.debt_nanos

    @property
    def by_payer(self) -> dict[str, int]:
        """Tokens of both classes, by payer."""
        return {
            "reserved": self.reserved.total,
            "trial": self.trial.total,
            "billed": self.billed.total,
            "unfunded": self.unfunded.total,
        }


@dataclass(frozen=True, slots=True)
class ReservationUse:
    """How much of what reservations had accrued until the last request was used, in tokens by class."""

    accrued_input: int
    accrued_output: int
    used_input: int
    used_output: int


@dataclass(slots=True)
class ServiceOutcome:
    """What came of one service. Times are in microseconds since 1970; None where something did not happen."""

    name: str
    requests: int = 0
    allowed: int = 0
    denials: Counter[str] = field(default_factory=Counter)
    first_denials_us: dict[str, int] = field(default_factory=dict)
    would_deny: Counter[str] = field(default_factory=Counter)
    """Number of requests that rules in dry run would have denied, by the rule's name."""
    stops: Counter[str] = field(default_factory=Counter)
    """Number of requests that had to stop while they generated, by reason."""
    cut_short: int = 0
    """Number of requests that reached the ceiling of a final grant."""
    usage: Counts = field(default_factory=Counts)
    paid: Paid = field(default_factory=Paid)
    reservation_nanos: int = 0
    """Price of the reservations that were bought."""
    reservation_use: ReservationUse | None = None
    trial_left_tokens: int | None = None
    trial_end_us: int | None = None
    cheapest: Cheapest | None = None

    @property
    def total_nanos(self) -> int:
        """What the service costs in all: tokens and reservations."""
        return self.paid.cost_nanos + self.reservation_nanos

    def deny(self, reason: str, now_us: int) -> None:
        """Counts a denial."""
        self.denials[reason] += 1
        self.first_denials_us.setdefault(reason, now_us)

    def as_json(self) -> dict[str, Any]:
        """One object for programs; integers as integers."""
        use, cheapest = self.reservation_use, self.cheapest
        return {
            "service": self.name,
            "requests": self.requests,
            "allowed": self.allowed,
            "denials": dict(self.denials),
            "first_denials_us": self.first_denials_us,
            "would_deny": dict(self.would_deny),
            "stops": dict(self.stops),
            "cut_short": self.cut_short,
            "tokens": self.usage._asdict(),
            "payers": self.paid.by_payer,
            "cost_nanos": self.paid.cost_nanos,
            "debt_nanos": self.paid.debt_nanos,
            "reservation_nanos": self.reservation_nanos,
            "total_nanos": self.total_nanos,
            "trial_left_tokens": self.trial_left_tokens,
            "trial_end_us": self.trial_end_us,
            "reservation_use": None
            if use is None
            else {
                "accrued_input_tokens": use.accrued_input,
                "accrued_output_tokens": use.accrued_output,
                "used_input_tokens": use.used_input,
                "used_output_tokens": use.used_output,
            },
            "cheapest_reservation": None if cheapest is None else cheapest.as_json(),
        }


@dataclass(slots=True)
class Outcome:
    """What came of one set of settings. `balance_nanos`: what is left of the account's money at the end."""

    settings: str
    currency: str
    start_us: int
    services: dict[str, ServiceOutcome]
    minutes: dict[int, Paid] = field(default_factory=dict)
    """Sums of each minute in which anything was booked, of all services."""
    balance_nanos: int = 0
    overdue_us: int | None = None

    def add(self, record: RequestRecord) -> None:
        """A request was booked; see `Books`."""
        service = self.services[record.service.rpartition("/")[2]]
        service.paid.add(record)
        service.usage += record.receipt.usage
        booked_us = record.booked_us or record.start_us
        if record.receipt.trial.total:
            service.trial_end_us = booked_us
        minute_us = booked_us // MINUTE_US * MINUTE_US
        if minute_us not in self.minutes:
            self.minutes[minute_us] = Paid()
        self.minutes[minute_us].add(record)

    def add_denials(self, key: DenialKey, count: int) -> None:
        """Denials are counted where they are heard; here only those that were none, of rules in dry run."""
        if key.reason.startswith(WOULD_DENY):
            self.services[key.service.rpartition("/")[2]].would_deny[key.reason.removeprefix(WOULD_DENY)] += count

    @property
    def total_nanos(self) -> int:
        """What all services cost."""
        return sum(service.total_nanos for service in self.services.values())

    def as_json(self) -> dict[str, Any]:
        """One object for programs."""
        return {
            "settings": self.settings,
            "currency": self.currency,
            "start_us": self.start_us,
            "total_nanos": self.total_nanos,
            "balance_nanos": self.balance_nanos,
            "overdue_us": self.overdue_us,
            "services": [service.as_json() for service in self.services.values()],
        }
