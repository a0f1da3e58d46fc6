"""The claim of a free trial: once by each account and model."""

from dataclasses import replace

from control_service.domain.account import Account
from control_service.domain.errors import Reason, RefusedError
from control_service.domain.event import EventCause
from control_service.domain.in_use import require_in_use
from control_service.domain.names import model_name, service_name
from control_service.domain.service import Service
from control_service.domain.trial import Trial
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction
from control_service.usecases.service_status import update_status


async def claim_trial(tx: Transaction, account: Account, service: Service, act: Act) -> Service:
    """Gives the service the model's free trial, on the terms that the model offers now.

    Raises:
        RefusedError: ACCOUNT_CLOSED, MODEL_RETIRED, TRIAL_ALREADY_CLAIMED or NO_TRIAL_OFFER.
    """
    require_in_use(account, service)
    owner_id = await tx.services.claim_trial(account.account_id, service.model_id, service.service_id, act.now_us)
    if service.trial is not None or owner_id != service.service_id:
        owner = service_name(account.account_id, owner_id)
        message = f"The free trial of {model_name(service.model_id)} is given once per account, and {owner} has it."
        raise RefusedError(Reason.TRIAL_ALREADY_CLAIMED, message, service=owner)
    model = await tx.models.get(service.model_id)
    offer = model.trial_offer
    if offer is None:
        name = model_name(model.model_id)
        message = f"{name} offers no free trial; enable pay-as-you-go or buy a reservation."
        raise RefusedError(Reason.NO_TRIAL_OFFER, message, model=name)
    trial = Trial(
        quota_tokens=offer.quota_tokens,
        smallest_tokens=model.smallest_request_tokens,
        claim_us=act.now_us,
        expire_us=None if offer.valid_for_us is None else act.now_us + offer.valid_for_us,
    )
    return await update_status(tx, account, replace(service, trial=trial), act.because(EventCause.TRIAL_CLAIMED))
