"""Payments: top-ups and adjustments, and every other ledger line that people cause."""

from dataclasses import dataclass

from control_service.domain.account import Account
from control_service.domain.errors import InvalidRequestError
from control_service.domain.input_bounds import FUNDS_NANOS_MAX
from control_service.domain.ledger import LedgerEntry, Line, post
from control_service.domain.overdue import reassess
from control_service.domain.pot import PotKey, PotKind
from control_service.usecases.idempotent_call import Act
from control_service.usecases.money_recall import require_recalled
from control_service.usecases.ports import Transaction
from control_service.usecases.service_status import save_account
from tallygate._wire.amounts import units_text


@dataclass(frozen=True, slots=True)
class BookedLine:
    """A ledger line that was written, and the account after it."""

    account: Account
    entry: LedgerEntry


async def pay(tx: Transaction, account: Account, line: Line, act: Act) -> BookedLine:
    """Pays money in or, with a negative amount, takes money away: top-ups and adjustments.

    Raises:
        InvalidRequestError: the account would hold more, or owe more, than fits.
        MoneyOnLeaseError: money that is taken away is on lease, and may be recalled first.
    """
    if abs(account.funds_nanos + line.amount_nanos) > FUNDS_NANOS_MAX:
        paid_in, bound = units_text(account.funds_nanos), units_text(FUNDS_NANOS_MAX)
        what = f"must keep what was paid in, now {paid_in} {account.currency_code}, within {bound}"
        raise InvalidRequestError([("amount_nanos", what)])
    if line.amount_nanos < 0 and act.may_recall:
        # So that nodes have as little as can be of what is no longer there.
        require_recalled(account, -line.amount_nanos)
    return await book(tx, account, line, act)


async def book(tx: Transaction, account: Account, line: Line, act: Act) -> BookedLine:
    """Writes a ledger line, moves the account's funds by its amount, and updates the statuses that follow."""
    changed, entry = post(account, line, act.actor, act.now_us)
    await tx.ledger.add(entry)
    note_money(account, changed, act)
    after = await save_account(tx, account, reassess(changed, act.now_us), act.actor, act.now_us)
    return BookedLine(after, entry)


def note_money(before: Account, after: Account, act: Act) -> None:
    """Notes the account's money as come back, if more of it may be leased: its shortages are over."""
    if after.available_nanos > before.available_nanos or after.overdue_floor_nanos < before.overdue_floor_nanos:
        act.came_back.add(PotKey.of(after.account_id, "", PotKind.MONEY))
