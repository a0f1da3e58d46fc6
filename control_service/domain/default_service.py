"""Default services: one of every account for every model, without being stored."""

import uuid
from functools import lru_cache

from control_service.domain.account import Account
from control_service.domain.model import Model
from control_service.domain.names import default_service_id
from control_service.domain.service import Service, ServiceKind


def default_service(account: Account, model: Model) -> Service:
    """The service that every account has for every model, as it is until somebody acts on it."""
    return Service(
        account_id=account.account_id,
        service_id=default_service_id(model.model_id),
        uid=str(uuid.uuid5(_namespace(account.uid), model.uid)),
        model_id=model.model_id,
        kind=ServiceKind.DEFAULT,
        model_retired=model.retired,
    )


@lru_cache(maxsize=1_000)
def _namespace(account_uid: str) -> uuid.UUID:
    return uuid.UUID(account_uid)
