"""Reach of API keys: which services a key may be used for at all, and where its route leads."""

from control_service.domain.api_key import ApiKey
from control_service.domain.service import Service


def reaches(key: ApiKey, service: Service) -> bool:
    """Whether a key may be used for a service: one of its account, of its team or shared, within its scope.

    A key of no team reaches the services of all teams.
    """
    return is_in_reach(key, service) and key.scope.names(service.service_id, service.model_id)


def is_in_reach(key: ApiKey, service: Service) -> bool:
    """Whether the service is one that the scope `all` means for this key, and that its scope may name."""
    if service.account_id != key.account_id or service.deleted:
        return False
    return not key.team or service.team == key.team or service.shared
