"""What a survey of the database finds: counts and sums of all accounts, for those who watch the service."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class MoneySums:
    """Sums over all accounts of one currency, in nanos."""

    funds_nanos: float
    spent_nanos: float
    leased_nanos: float
    credit_limit_nanos: float


@dataclass(frozen=True, slots=True)
class Survey:
    """The database at one moment.

    `services`: stored ones that are not deleted, by status. `pots_low`: pots with less than a tenth left, by kind.
    `accounts_at_threshold`: accounts whose money stands at a threshold. `money`: by currency.
    """

    services: Mapping[str, int]
    pots_low: Mapping[str, int]
    account_count: int
    accounts_overdue: int
    accounts_at_threshold: int
    deliveries_waiting: int
    money: Mapping[str, MoneySums]


class SurveyPort(Protocol):
    """The part of a database that is surveyed."""

    async def survey(self, now_us: int) -> Survey:
        """What there is now; it reads whole tables. Raises StorageUnavailableError."""
