"""Closed accounts and retired models: nothing is begun on them, and what was begun is stopped and kept."""

from dataclasses import replace

from control_service.domain.account import Account
from control_service.domain.event import EventCause
from control_service.usecases.idempotent_call import Act
from control_service.usecases.people.catalogue import ModelView, model_views
from control_service.usecases.ports import Transaction
from control_service.usecases.service_status import update_each


async def set_closed(tx: Transaction, account: Account, act: Act, *, closed: bool) -> Account:
    """Closes an account or opens it again; nothing happens where the account is in that state already."""
    if account.closed is closed:
        return account
    account = replace(account, close_us=act.now_us if closed else None, update_us=act.now_us)
    await tx.accounts.save(account)
    cause = EventCause.ACCOUNT_CLOSED if closed else EventCause.ACCOUNT_REOPENED
    await update_each(tx, account, await tx.services.of_account(account.account_id), act.because(cause))
    return account


async def set_retired(tx: Transaction, model_id: str, act: Act, *, retired: bool) -> ModelView:
    """Retires a model or restores it; nothing happens where the model is in that state already.

    Nodes hear of it at once, by the model's configuration. The sweeper updates what is stored of its services: it may
    lock their accounts.

    Raises ResourceNotFoundError.
    """
    model = await tx.models.get(model_id)
    if model.retired is not retired:
        model = replace(
            model,
            retire_us=act.now_us if retired else None,
            update_us=act.now_us,
            config_version=await tx.next_config_version(),
            next_due_us=act.now_us,
        )
        await tx.models.save(model)
    return (await model_views(tx, [model], act.now_us))[0]
