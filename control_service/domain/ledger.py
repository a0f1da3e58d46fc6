"""The ledger of an account: the lines that add up to its balance."""

import enum
from dataclasses import dataclass


class LedgerEntryKind(enum.StrEnum):
    """The kinds of ledger lines."""

    TOP_UP = "TOP_UP"
    ADJUSTMENT = "ADJUSTMENT"
    RESERVATION = "RESERVATION"
    USAGE = "USAGE"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line. A USAGE line gathers one service's settlements of one minute, which begins at `usage_minute_us`."""

    account_id: str
    entry_number: int
    kind: LedgerEntryKind
    amount_nanos: int
    reason: str
    actor: str
    create_us: int
    service_id: str | None = None
    service_uid: str | None = None
    usage_minute_us: int | None = None
