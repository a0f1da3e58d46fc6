"""Pots: anything that can run out. Always: capacity = available + leased + spent.

Money is counted in nanos of the account's currency, a trial and a reservation in tokens. The rate of a reservation is a
pot too, but one that refills: see bucket.py. So is what a limit has to give: see limit_pot.py.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol, Self

from typing_extensions import override

from control_service.domain.limit import LimitPotKey

USED_UNITS_MAX: Final = 5 * 10**18
"""Maximum of a pot's leased and spent units together: as much as can be paid in and lent. More would be debts."""


class PotKind(enum.StrEnum):
    """What a pot is, and so its unit."""

    MONEY = "MONEY"
    TRIAL = "TRIAL"
    RESERVATION_INPUT = "RESERVATION_INPUT"
    RESERVATION_OUTPUT = "RESERVATION_OUTPUT"
    RATE = "RATE"
    SLOTS = "SLOTS"
    BUDGET_TOKENS = "BUDGET_TOKENS"
    BUDGET_MONEY = "BUDGET_MONEY"

    @property
    def is_reservation(self) -> bool:
        """Whether it is what a service's reservations have accrued."""
        return self in (PotKind.RESERVATION_INPUT, PotKind.RESERVATION_OUTPUT)

    @property
    def is_budget(self) -> bool:
        """Whether it is a period of a budget."""
        return self in (PotKind.BUDGET_TOKENS, PotKind.BUDGET_MONEY)

    @property
    def refills(self) -> bool:
        """Whether units come back by themselves, with time or when requests end."""
        return self.is_reservation or self.is_rule

    @property
    def is_rule(self) -> bool:
        """Whether it is what a rate rule has: units that accrue, or slots."""
        return self in (PotKind.RATE, PotKind.SLOTS)

    @property
    def is_limit(self) -> bool:
        """Whether it belongs to a limit, and not to a payer."""
        return self in (PotKind.RATE, PotKind.SLOTS, PotKind.BUDGET_TOKENS, PotKind.BUDGET_MONEY)


class PotKey(NamedTuple):
    """Which pot: money and the pots of limits belong to the account, every other kind to one service.

    `limit`: which pot of a limit; None of a payer.
    """

    account: str
    service_uid: str
    kind: PotKind
    limit: LimitPotKey | None = None

    @staticmethod
    def of(account: str, service_uid: str, kind: PotKind) -> PotKey:
        """The pot that a lease of this kind for this service is a slice of."""
        return PotKey(account, "" if kind is PotKind.MONEY else service_uid, kind)

    @staticmethod
    def of_limit(limit: LimitPotKey, kind: PotKind) -> PotKey:
        """The pot of a limit."""
        return PotKey(limit.account_id, "", kind, limit)


class Pot(Protocol):
    """What leases need to know of a pot, whatever its kind."""

    @property
    def leased_units(self) -> int:
        """Out on lease and not yet consumed."""

    @property
    def spent_units(self) -> int:
        """Consumed and settled."""

    @property
    def available_units(self) -> int:
        """Neither leased nor spent; below zero where usage that nothing covered made a debt."""

    @property
    def grantable_units(self) -> int:
        """The available units that may be leased now; never negative."""

    @property
    def spare_units(self) -> int:
        """The available units that may be leased ahead of need without barring the rest from lease; never negative."""

    def settled(self, *, spent_units: int, released_units: int) -> Self:
        """The pot after units were consumed, and units came off lease, consumed or returned."""

    def lent(self, units: int) -> Self:
        """The pot after grantable units went out on lease."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A pot of a fixed size: an account's money, or a trial.

    With less than `floor_units` available nothing is leased; otherwise all of it may be.
    """

    capacity_units: int
    leased_units: int
    spent_units: int
    floor_units: int = 0

    @property
    def available_units(self) -> int:
        """Capacity less what is leased and what is spent."""
        return self.capacity_units - self.leased_units - self.spent_units

    @property
    def grantable_units(self) -> int:
        """All that is available, or nothing below the floor."""
        return max(0, self.available_units) if self.available_units >= self.floor_units else 0

    @property
    def spare_units(self) -> int:
        """What is available above the floor."""
        return max(0, self.available_units - self.floor_units)

    def settled(self, *, spent_units: int, released_units: int) -> Self:
        """The pot after units were consumed, and units came off lease."""
        return replace(
            self, leased_units=self.leased_units - released_units, spent_units=self.spent_units + spent_units
        )

    def lent(self, units: int) -> Self:
        """The pot after these units went out on lease."""
        return replace(self, leased_units=self.leased_units + units)


@dataclass(frozen=True, slots=True)
class Uncapped(Quantity):
    """A pot that only counts, such as a soft budget: it is leased without regard to what is left of its capacity."""

    @property
    @override
    def grantable_units(self) -> int:
        """As much as can be counted."""
        return max(0, USED_UNITS_MAX - self.leased_units - self.spent_units)

    @property
    @override
    def spare_units(self) -> int:
        """All that may be leased: a pot that only counts has no floor."""
        return self.grantable_units
