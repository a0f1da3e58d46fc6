"""The service that an API key leads to, and whether a key may use a service."""

from typing import Final

from metering_service.domain.api_key import ApiKey, KeyProblem, KeyState
from metering_service.domain.network import is_within
from metering_service.domain.service import ServiceConfig, Status

_STATES: Final = {
    KeyState.UNKNOWN: KeyProblem.UNKNOWN,
    KeyState.EXPIRED: KeyProblem.EXPIRED,
    KeyState.REVOKED: KeyProblem.REVOKED,
}


class ModelNeededError(Exception):
    """The key leads to several services, and the report does not say which model it is about."""


def chosen_service(key: ApiKey, model: str | None) -> str | KeyProblem:
    """Resource name of the service that a key leads to.

    Args:
        key: The key, whatever its state.
        model: Resource name of the model; empty where there is none of the name that was given, None where none was.

    Raises:
        ModelNeededError: No model was given, and the key leaves several.
    """
    if model is None:
        return _only_service(key)
    if not model or (key.models is not None and model not in key.models):
        return KeyProblem.MODEL
    routed = key.routes.get(model)
    if routed is not None:
        # Whether it is still there is not asked: a route that leads nowhere is no reason to go elsewhere.
        return routed
    if key.services is not None:
        return KeyProblem.NO_ROUTE
    return f"{key.account}/services/default-{model.removeprefix('models/')}"


def _only_service(key: ApiKey) -> str | KeyProblem:
    if len(key.routes) == 1:
        return next(iter(key.routes.values()))
    if not key.routes and key.services is not None and len(key.services) == 1:
        return next(iter(key.services))
    if not key.routes and key.models is not None and len(key.models) == 1:
        return chosen_service(key, next(iter(key.models)))
    raise ModelNeededError


def scope_problem(key: ApiKey, config: ServiceConfig) -> KeyProblem | None:
    """Why a key is not for this service, whoever shows it from wherever; None where it is."""
    if not key.is_of_account_of(config.name):
        return KeyProblem.FOREIGN
    if key.services is not None and config.name not in key.services:
        return KeyProblem.SERVICE
    if key.models is not None and config.model not in key.models:
        return KeyProblem.MODEL
    if key.team and key.team != config.team and not config.shared:
        return KeyProblem.TEAM
    return None


def key_problem(key: ApiKey, state: KeyState, config: ServiceConfig, source_address: str | None) -> KeyProblem | None:
    """Why a key does not let in a new request of this service; None where it does.

    `state`: whether it opens anything now. `source_address`: from where it is shown, perhaps empty; None: not asked.
    """
    if state is not KeyState.VALID:
        return _STATES[state]
    if config.status in (Status.UNKNOWN, Status.DELETED):
        return KeyProblem.NO_SERVICE
    problem = scope_problem(key, config)
    if problem is not None or source_address is None or not key.networks:
        return problem
    return None if is_within(source_address, key.networks) else KeyProblem.ADDRESS
