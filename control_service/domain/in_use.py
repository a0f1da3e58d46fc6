"""Accounts that are closed and models that are retired: nothing is begun on them."""

from control_service.domain.account import Account
from control_service.domain.errors import Reason, RefusedError
from control_service.domain.names import account_name, model_name
from control_service.domain.service import Service


def require_open(account: Account) -> None:
    """Raises RefusedError ACCOUNT_CLOSED where nothing is begun in the account."""
    if account.closed:
        name = account_name(account.account_id)
        message = f"{name} is closed, and nothing is begun in it; an operator can open it again."
        raise RefusedError(Reason.ACCOUNT_CLOSED, message, account=name)


def require_in_use(account: Account, service: Service) -> None:
    """Raises RefusedError ACCOUNT_CLOSED or MODEL_RETIRED where nothing is begun on the service."""
    require_open(account)
    if service.model_retired:
        name = model_name(service.model_id)
        message = f"{name} is retired, and nothing is begun on it; take another model, or restore this one."
        raise RefusedError(Reason.MODEL_RETIRED, message, model=name)
