"""The ledger of an account: the lines that add up to its balance."""

import enum
from dataclasses import dataclass, replace

from control_service.domain.account import Account
from control_service.domain.actor import Actor


class LedgerEntryKind(enum.StrEnum):
    """The kinds of ledger lines."""

    TOP_UP = "TOP_UP"
    ADJUSTMENT = "ADJUSTMENT"
    RESERVATION = "RESERVATION"
    USAGE = "USAGE"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line. A USAGE line gathers one service's settlements of the minute that begins at `usage_minute_us`.

    After a time it is those of a longer step that begins then, with the number and time of the first of its lines.

    `actor` and `actor_note` are the two parts of its Actor. `team`: the service's, when the line was opened.
    """

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
    actor_note: str = ""
    team: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A ledger line to be posted, of any kind but USAGE. `service_*`, `team`: the service that it concerns, if any."""

    kind: LedgerEntryKind
    amount_nanos: int
    reason: str
    service_id: str | None = None
    service_uid: str | None = None
    team: str = ""


def post(account: Account, line: Line, actor: Actor, now_us: int) -> tuple[Account, LedgerEntry]:
    """Posts a line: the account's funds move by its amount, so that all lines add up to the balance.

    Returns:
        The account after it, and the entry.
    """
    entry = LedgerEntry(
        account_id=account.account_id,
        entry_number=account.ledger_entry_count + 1,
        kind=line.kind,
        amount_nanos=line.amount_nanos,
        reason=line.reason,
        actor=actor.name,
        create_us=now_us,
        service_id=line.service_id,
        service_uid=line.service_uid,
        actor_note=actor.note,
        team=line.team,
    )
    funds_nanos = account.funds_nanos + line.amount_nanos
    return replace(account, funds_nanos=funds_nanos, ledger_entry_count=entry.entry_number), entry
