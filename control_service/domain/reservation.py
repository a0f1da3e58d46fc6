"""TPM reservations: capacity by the minute, paid in advance for a term."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from control_service.domain.model import ReservationPrice
from control_service.domain.pot import PotKind

DAY_US: Final = 86_400_000_000
_PRICED_TOKENS: Final = 1_000


class OverflowPolicy(enum.StrEnum):
    """What becomes of tokens over a reservation's rate."""

    BILL_BY_TOKEN = "BILL_BY_TOKEN"  # noqa: S105  # no password
    REFUSE = "REFUSE"


class ReservationState(enum.StrEnum):
    """The states of a reservation's life."""

    ACTIVE = "ACTIVE"
    ENDED = "ENDED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class ReservationTerms:
    """The terms of a purchase."""

    input_tokens_per_minute: int
    output_tokens_per_minute: int
    term_day_count: int
    overflow_policy: OverflowPolicy


@dataclass(frozen=True, slots=True)
class Reservation:
    """One reservation of one service; a cancellation moves `end_us` forward."""

    account_id: str
    service_id: str
    reservation_number: int
    input_tokens_per_minute: int
    output_tokens_per_minute: int
    overflow_policy: OverflowPolicy
    paid_nanos: int
    start_us: int
    end_us: int
    cancelled: bool = False

    def active(self, now_us: int) -> bool:
        """Whether the reservation pays."""
        return not self.cancelled and now_us < self.end_us

    def state(self, now_us: int) -> ReservationState:
        """The reservation's state at this moment."""
        if self.cancelled:
            return ReservationState.CANCELLED
        return ReservationState.ACTIVE if now_us < self.end_us else ReservationState.ENDED


@dataclass(frozen=True, slots=True)
class Reserved:
    """The sum of a service's active reservations: rates by class, and whether any of them refuses overflow."""

    input_tokens_per_minute: int = 0
    output_tokens_per_minute: int = 0
    refuses_overflow: bool = False
    next_end_us: int | None = None

    @property
    def active(self) -> bool:
        """Whether any reservation is active."""
        return self.next_end_us is not None

    @property
    def by_kind(self) -> dict[PotKind, int]:
        """The rates, in tokens per minute, by kind of pot."""
        return {
            PotKind.RESERVATION_INPUT: self.input_tokens_per_minute,
            PotKind.RESERVATION_OUTPUT: self.output_tokens_per_minute,
        }


def reserved(reservations: Iterable[Reservation], now_us: int) -> Reserved:
    """The sum of the reservations that are active at this moment."""
    active = [reservation for reservation in reservations if reservation.active(now_us)]
    return Reserved(
        input_tokens_per_minute=sum(reservation.input_tokens_per_minute for reservation in active),
        output_tokens_per_minute=sum(reservation.output_tokens_per_minute for reservation in active),
        refuses_overflow=any(reservation.overflow_policy is OverflowPolicy.REFUSE for reservation in active),
        next_end_us=min((reservation.end_us for reservation in active), default=None),
    )


def charge_nanos(price: ReservationPrice, terms: ReservationTerms) -> int:
    """The price of the whole term: exact, rounded down once."""
    per_day = (
        terms.input_tokens_per_minute * price.input_nanos_per_thousand_tpm_day
        + terms.output_tokens_per_minute * price.output_nanos_per_thousand_tpm_day
    )
    return per_day * terms.term_day_count // _PRICED_TOKENS
