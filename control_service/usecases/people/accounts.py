"""Accounts and their settings."""

from dataclasses import dataclass, replace
from typing import Final

from control_service.domain.account import Account, OverduePolicy
from control_service.domain.forecast import Pace
from control_service.domain.ledger import LedgerEntryKind
from control_service.domain.overdue import reassess
from control_service.usecases.idempotent_call import Act
from control_service.usecases.money_recall import require_recalled
from control_service.usecases.people.payments import note_money
from control_service.usecases.ports import Transaction
from control_service.usecases.service_status import save_account

PACE_US: Final = 86_400 * 10**6
"""Length of the time that an account's pace is measured over."""

_MINUTE_US: Final = 60 * 10**6


@dataclass(frozen=True, slots=True)
class NewAccount:
    """The settings of an account to be created."""

    account_id: str
    display_name: str
    currency_code: str
    credit_limit_nanos: int
    overdue_floor_nanos: int
    overdue_policy: OverduePolicy


@dataclass(frozen=True, slots=True)
class AccountUpdate:
    """New settings; None leaves one as it is."""

    display_name: str | None
    credit_limit_nanos: int | None
    overdue_floor_nanos: int | None
    overdue_policy: OverduePolicy | None


async def create_account(tx: Transaction, new: NewAccount, act: Act) -> Account:
    """Adds an account with a balance of zero. Raises ResourceExistsError."""
    account = Account(
        account_id=new.account_id,
        uid=act.new_id(),
        display_name=new.display_name,
        currency_code=new.currency_code,
        credit_limit_nanos=new.credit_limit_nanos,
        overdue_floor_nanos=new.overdue_floor_nanos,
        overdue_policy=new.overdue_policy,
        create_us=act.now_us,
        update_us=act.now_us,
    )
    await tx.accounts.add(account)
    # The account's default services exist from now on, and nodes may follow their names already.
    await tx.next_config_version()
    return account


async def update_account(tx: Transaction, account: Account, update: AccountUpdate, act: Act) -> Account:
    """Changes an account's settings, which may set or clear its overdue latch.

    Raises MoneyOnLeaseError where money beyond a lower credit limit is on lease, and may be recalled first.
    """
    given = {name: getattr(update, name) for name in AccountUpdate.__slots__}
    changed = replace(
        account, update_us=act.now_us, **{name: value for name, value in given.items() if value is not None}
    )
    if act.may_recall and changed.credit_limit_nanos < account.credit_limit_nanos:
        require_recalled(changed, 0)
    note_money(account, changed, act)
    return await save_account(tx, account, reassess(changed, act.now_us), act.actor, act.now_us)


async def forecast(tx: Transaction, account_id: str, now_us: int) -> tuple[Account, Pace]:
    """The account, and what its services have cost of late. Raises ResourceNotFoundError."""
    account = await tx.accounts.get(account_id)
    # A line gathers the usage of a minute.
    start_us = (now_us - PACE_US) // _MINUTE_US * _MINUTE_US
    spent_nanos = -await tx.ledger.total_since(account_id, start_us, LedgerEntryKind.USAGE)
    return account, Pace(spent_nanos, max(start_us, account.create_us), now_us)
