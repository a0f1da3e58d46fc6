"""Pots: those that pay for tokens, those of limits, and what is set aside of payers for an open request."""

from enum import StrEnum
from typing import Final, NamedTuple


class PotKind(StrEnum):
    """The kinds of pots. Money is in nanos, the others that pay for tokens and budgets of tokens are in tokens."""

    RESERVATION_INPUT = "reservation_input"
    RESERVATION_OUTPUT = "reservation_output"
    TRIAL = "trial"
    MONEY = "money"
    RATE = "rate"
    SLOTS = "slots"
    BUDGET_TOKENS = "budget_tokens"
    BUDGET_MONEY = "budget_money"


PAYERS: Final = (PotKind.RESERVATION_INPUT, PotKind.RESERVATION_OUTPUT, PotKind.TRIAL, PotKind.MONEY)
"""Kinds of pots that pay for tokens, in the order in which units of each are kept."""


BUDGETS: Final = (PotKind.BUDGET_TOKENS, PotKind.BUDGET_MONEY)
"""Kinds of pots of budgets."""


class LimitPotKey(NamedTuple):
    """Which pot of a limit, in the account of the service that is charged to it.

    `member_uid`: of which key, service or team, where a limit counts each for itself. `period_start_us`: when the
    period of a budget begins; 0 without periods.
    """

    kind: PotKind
    limit_uid: str
    member_uid: str = ""
    period_start_us: int = 0


class HeldUnits(NamedTuple):
    """What an open request has set aside at its last checkpoint, so that a successor can book it."""

    input_tokens: int = 0
    output_ceiling_tokens: int = 0
    reserved_input_tokens: int = 0
    reserved_output_tokens: int = 0
    trial_tokens: int = 0
    billed_tokens: int = 0
    money_nanos: int = 0

    @property
    def by_kind(self) -> tuple[int, int, int, int]:
        """Units of each pot, in the order of `PAYERS`."""
        return self.reserved_input_tokens, self.reserved_output_tokens, self.trial_tokens, self.money_nanos
