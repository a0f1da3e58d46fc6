"""Pots that pay for tokens, and what is set aside of them for an open request."""

from enum import StrEnum
from typing import NamedTuple


class PotKind(StrEnum):
    """The kinds of pots that pay for tokens. Money is in nanos, the others are in tokens."""

    RESERVATION_INPUT = "reservation_input"
    RESERVATION_OUTPUT = "reservation_output"
    TRIAL = "trial"
    MONEY = "money"


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
        """Units of each pot, in the order of `PotKind`."""
        return self.reserved_input_tokens, self.reserved_output_tokens, self.trial_tokens, self.money_nanos
