"""The pots of payers that have a fixed size: an account's money, and a trial."""

from control_service.domain.account import Account
from control_service.domain.pot import Quantity
from control_service.domain.trial import Trial


def money_of(account: Account) -> Quantity:
    """An account's money as a pot."""
    return Quantity(
        capacity_units=account.funds_nanos + account.credit_limit_nanos,
        leased_units=account.leased_nanos,
        spent_units=account.spent_nanos,
        floor_units=account.overdue_floor_nanos,
    )


def trial_of(trial: Trial) -> Quantity:
    """A trial as a pot."""
    return Quantity(trial.quota_tokens, trial.leased_tokens, trial.spent_tokens)
