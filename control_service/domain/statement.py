"""Statements: what a month did to an account's money, exact to the nano.

Opening balance plus all lines is the closing balance, since the balance is the sum of the ledger. Months begin and end
by a time zone.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from control_service.domain.account import Account
from control_service.domain.ledger import LedgerEntryKind
from control_service.domain.period import Period

LINES_MAX: Final = 5_000
"""Maximum number of lines of a statement: so many fit into an answer."""

OF_SERVICES: Final = frozenset({LedgerEntryKind.RESERVATION, LedgerEntryKind.USAGE})
"""Kinds of ledger lines that concern a service."""


class StatementGrouping(enum.StrEnum):
    """What the lines of a statement are added up by."""

    SERVICE = "SERVICE"
    MODEL = "MODEL"
    TEAM = "TEAM"


@dataclass(frozen=True, slots=True)
class StatementScope:
    """What a caller sees of an account's money.

    `whole`: its balances and payments as well. `team_ids`: only what services of these teams cost; None: any.
    """

    whole: bool
    team_ids: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class StatementQuery:
    """The statement that is asked for. `month` is its year and month; None for the one that runs."""

    account_id: str
    month: tuple[int, int] | None
    time_zone: str
    grouping: StatementGrouping
    scope: StatementScope


@dataclass(frozen=True, slots=True)
class StatementLine:
    """Ledger lines of one kind, added up. What they are not added up by is empty."""

    kind: LedgerEntryKind
    amount_nanos: int
    entry_count: int
    service_id: str = ""
    service_uid: str = ""
    model_id: str = ""
    team: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a month did to an account's money; `closing_nanos` is None for who may not see the balance.

    `lines` are of every kind; of an adjustment those that add and those that take away are two lines.
    """

    account: Account
    period: Period
    month: str
    time_zone: str
    as_of_us: int
    lines: tuple[StatementLine, ...]
    closing_nanos: int | None

    @property
    def opening_nanos(self) -> int | None:
        """The balance at the start of the month."""
        return None if self.closing_nanos is None else self.closing_nanos - self._sum(lambda _: True)

    @property
    def top_up_nanos(self) -> int:
        """Money paid in."""
        return self.total_nanos(LedgerEntryKind.TOP_UP)

    @property
    def credit_nanos(self) -> int:
        """Adjustments that added to the balance."""
        return self._sum(lambda line: line.kind is LedgerEntryKind.ADJUSTMENT and line.amount_nanos > 0)

    @property
    def debit_nanos(self) -> int:
        """Adjustments that took away from it."""
        return self._sum(lambda line: line.kind is LedgerEntryKind.ADJUSTMENT and line.amount_nanos < 0)

    def total_nanos(self, kind: LedgerEntryKind) -> int:
        """The sum of all lines of a kind."""
        return self._sum(lambda line: line.kind is kind)

    @property
    def lines_of_services(self) -> list[StatementLine]:
        """The lines that concern services."""
        return [line for line in self.lines if line.kind in OF_SERVICES]

    def _sum(self, is_counted: Callable[[StatementLine], bool]) -> int:
        return sum(line.amount_nanos for line in self.lines if is_counted(line))
