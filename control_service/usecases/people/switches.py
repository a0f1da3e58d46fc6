"""The switches of a service: pay-as-you-go, and an operator's stop."""

from dataclasses import replace

from control_service.domain.account import Account
from control_service.domain.errors import Reason, RefusedError
from control_service.domain.event import EventCause
from control_service.domain.in_use import require_in_use
from control_service.domain.model import Model
from control_service.domain.names import model_name
from control_service.domain.service import Service
from control_service.domain.status import PostpaidState
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction
from control_service.usecases.service_status import update_status


async def enable_postpaid(tx: Transaction, account: Account, service: Service, act: Act) -> Service:
    """Switches pay-as-you-go on; nothing happens where pay-as-you-go is on already.

    Raises:
        RefusedError: ACCOUNT_CLOSED, MODEL_RETIRED, CURRENCY_MISMATCH or NO_PRICE_IN_FORCE.
    """
    if service.postpaid is PostpaidState.ENABLED:
        return service
    require_in_use(account, service)
    model = await tx.models.get(service.model_id)
    require_currency(account, model)
    await require_price(tx, model.model_id, act.now_us)
    enabled = replace(service, postpaid=PostpaidState.ENABLED)
    return await update_status(tx, account, enabled, act.because(EventCause.POSTPAID_ENABLED))


async def disable_postpaid(tx: Transaction, account: Account, service: Service, act: Act) -> Service:
    """Switches pay-as-you-go off, which stops the service; nothing happens where pay-as-you-go is off already.

    Raises:
        RefusedError: POSTPAID_NEVER_ENABLED.
    """
    if service.postpaid is PostpaidState.NEVER_ENABLED:
        raise RefusedError(
            Reason.POSTPAID_NEVER_ENABLED,
            f"Pay-as-you-go was never enabled on {service.name}, so it cannot be disabled; there is nothing to do.",
            service=service.name,
        )
    if service.postpaid is PostpaidState.DISABLED:
        return service
    disabled = replace(service, postpaid=PostpaidState.DISABLED)
    return await update_status(tx, account, disabled, act.because(EventCause.POSTPAID_DISABLED))


async def set_suspended(tx: Transaction, account: Account, service: Service, act: Act, *, suspended: bool) -> Service:
    """Suspends or resumes a service for an operator; nothing happens where the service is in that state already."""
    if service.suspended is suspended:
        return service
    cause = EventCause.SUSPENDED if suspended else EventCause.RESUMED
    return await update_status(tx, account, replace(service, suspended=suspended), act.because(cause))


async def require_price(tx: Transaction, model_id: str, now_us: int) -> None:
    """Raises RefusedError NO_PRICE_IN_FORCE where the model has none."""
    if not await tx.models.in_force([model_id], now_us):
        name = model_name(model_id)
        message = f"{name} has no price in force; publish one, then enable pay-as-you-go."
        raise RefusedError(Reason.NO_PRICE_IN_FORCE, message, model=name)


def require_currency(account: Account, model: Model) -> None:
    """Raises RefusedError CURRENCY_MISMATCH where the model's prices are not in the account's currency."""
    if account.currency_code == model.currency_code:
        return
    raise RefusedError(
        Reason.CURRENCY_MISMATCH,
        f"{model_name(model.model_id)} has its prices in {model.currency_code}, and the account pays in "
        f"{account.currency_code}; use an account or a model of the same currency.",
        model_currency=model.currency_code,
        account_currency=account.currency_code,
    )
