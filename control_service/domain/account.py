"""Accounts: who pays."""

import enum
from dataclasses import dataclass, replace

from control_service.domain.threshold import TRIAL_PERCENTS, remainder_reached


class OverduePolicy(enum.StrEnum):
    """What being overdue does to the account's pay-as-you-go services."""

    STOP_ALL = "STOP_ALL"
    KEEP_FUNDED = "KEEP_FUNDED"


@dataclass(frozen=True, slots=True)
class Account:
    """One account. `funds_nanos` is the sum of all ledger lines but USAGE ones, which `spent_nanos` is the sum of.

    `trial_percents` and `left_nanos_thresholds` are when to tell of its trials and of its money; `told_left_nanos` is
    the threshold that its money stands at, see threshold.py. `close_us` is None while it is open.
    """

    account_id: str
    uid: str
    display_name: str
    currency_code: str
    credit_limit_nanos: int
    overdue_floor_nanos: int
    overdue_policy: OverduePolicy
    create_us: int
    update_us: int
    funds_nanos: int = 0
    spent_nanos: int = 0
    leased_nanos: int = 0
    overdue_us: int | None = None
    ledger_entry_count: int = 0
    trial_percents: tuple[int, ...] = TRIAL_PERCENTS
    left_nanos_thresholds: tuple[int, ...] = ()
    told_left_nanos: int | None = None
    close_us: int | None = None

    @property
    def balance_nanos(self) -> int:
        """The money paid in less the money spent, as far as leases are settled."""
        return self.funds_nanos - self.spent_nanos

    @property
    def available_nanos(self) -> int:
        """Balance plus credit limit, less the money leased to metering nodes."""
        return self.balance_nanos + self.credit_limit_nanos - self.leased_nanos

    @property
    def left_nanos(self) -> int:
        """Balance plus credit limit: what may still be spent, as far as leases are settled."""
        return self.balance_nanos + self.credit_limit_nanos

    @property
    def overdue(self) -> bool:
        """Whether the latch is set, by the rules in overdue.py."""
        return self.overdue_us is not None

    @property
    def closed(self) -> bool:
        """Whether nothing is begun in it any more."""
        return self.close_us is not None

    def told_of_money(self) -> "Account":
        """The account at the threshold that its money has reached; a top-up above a threshold arms it again."""
        return replace(self, told_left_nanos=remainder_reached(self.left_nanos_thresholds, self.left_nanos))
