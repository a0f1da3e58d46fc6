"""When an account is overdue: a latch, set and cleared by these rules alone."""

from dataclasses import replace

from control_service.domain.account import Account


def reassess(account: Account, now_us: int) -> Account:
    """The account with its latch after money came, went or came back from lease, or a setting changed.

    The latch is set when the balance is below minus the credit limit, and cleared when available money reaches the
    floor.
    """
    if account.available_nanos >= account.overdue_floor_nanos:
        return replace(account, overdue_us=None)
    if account.balance_nanos < -account.credit_limit_nanos:
        return _latched(account, now_us)
    return account


def starve(account: Account, now_us: int) -> Account:
    """The account with its latch after a service without another payer needed money and got none.

    The latch is set when less than the floor is available and nothing is leased that could come back.
    """
    if account.available_nanos < account.overdue_floor_nanos and account.leased_nanos == 0:
        return _latched(account, now_us)
    return account


def _latched(account: Account, now_us: int) -> Account:
    return account if account.overdue else replace(account, overdue_us=now_us)
