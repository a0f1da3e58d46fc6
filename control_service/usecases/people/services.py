"""Inference services: creation, lookup, change, deletion."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from control_service.domain.account import Account
from control_service.domain.default_service import default_service
from control_service.domain.errors import Reason, RefusedError, ResourceNotFoundError
from control_service.domain.event import EventCause
from control_service.domain.in_use import require_in_use
from control_service.domain.limit import Place, PlaceKind
from control_service.domain.names import model_of_default, reservation_name, service_name
from control_service.domain.service import CredentialPolicy, OutagePolicy, Service, ServiceKind, ServiceView
from control_service.usecases.idempotent_call import Act
from control_service.usecases.limit_changes import end_limits
from control_service.usecases.people.teams import require_custom, require_team
from control_service.usecases.ports import Transaction
from control_service.usecases.service_status import catch_up, keep, update_status, view


@dataclass(frozen=True, slots=True)
class NewService:
    """The settings of a custom service to be created. `credential_policy`: None where it goes by the account."""

    service_id: str
    model_id: str
    display_name: str
    team: str
    labels: Mapping[str, str]
    outage_policy: OutagePolicy = OutagePolicy.DENY
    outage_tokens_max: int = 0
    credential_policy: CredentialPolicy | None = None
    shared: bool = False
    exempt_from_model_rules: bool = False


@dataclass(frozen=True, slots=True)
class ServiceUpdate:
    """New settings of a service; None leaves a setting as it is. `outage_tokens_max` goes with the policy."""

    display_name: str | None
    team: str | None
    labels: Mapping[str, str] | None
    outage_policy: OutagePolicy | None = None
    outage_tokens_max: int = 0
    credential_policy: CredentialPolicy | None = None
    shared: bool | None = None
    exempt_from_model_rules: bool | None = None


async def find_service(tx: Transaction, account: Account, service_id: str) -> Service:
    """The service, stored or not, tombstones included. Raises ResourceNotFoundError."""
    service = await tx.services.find(account.account_id, service_id)
    if service is not None:
        return service
    model_id = model_of_default(service_id)
    model = None if model_id is None else await tx.models.find(model_id)
    if model is None:
        raise ResourceNotFoundError(service_name(account.account_id, service_id))
    return default_service(account, model)


async def open_service(tx: Transaction, account: Account, service_id: str, act: Act) -> Service:
    """The service, ready to be changed: changes that time alone has brought about are applied first.

    Raises:
        ResourceNotFoundError: there is no such service.
        RefusedError: SERVICE_DELETED.
    """
    service = await living_service(tx, account, service_id)
    if service.create_us is None:
        # As `create_service`: whoever retires the model would not see that this one is stored now.
        await tx.lock_globals()
        service = await living_service(tx, account, service_id)
    return await catch_up(tx, account, service, act.now_us)


async def living_service(tx: Transaction, account: Account, service_id: str) -> Service:
    """The service as it is stored. Raises ResourceNotFoundError, and RefusedError SERVICE_DELETED."""
    service = await find_service(tx, account, service_id)
    if service.deleted:
        raise RefusedError(
            Reason.SERVICE_DELETED,
            f"{service.name} is deleted, and names are never used again; create another service.",
            service=service.name,
        )
    return service


async def get_service(tx: Transaction, account_id: str, service_id: str, now_us: int) -> ServiceView:
    """The service as of now. Raises ResourceNotFoundError."""
    account = await tx.accounts.get(account_id)
    return await view(tx, account, await find_service(tx, account, service_id), now_us)


async def create_service(tx: Transaction, account: Account, new: NewService, act: Act) -> Service:
    """Adds a custom service, not enabled yet. It needs an API key if the account has ever had one, unless it is said.

    Raises:
        ResourceNotFoundError: there is no such model.
        ResourceExistsError: the name is or was in use.
        InvalidRequestError: the account has no such team.
        RefusedError: ACCOUNT_CLOSED or MODEL_RETIRED.
    """
    # First: it waits for whoever retires the model, who would not see this service, nor would the sweeper then.
    config_version = await tx.next_config_version()
    model = await tx.models.get(new.model_id)
    await require_team(tx, account.account_id, new.team)
    policy = new.credential_policy
    if policy is None:
        has_keys = await tx.api_keys.any_in(account.account_id)
        policy = CredentialPolicy.REQUIRED if has_keys else CredentialPolicy.OPEN
    service = Service(
        account_id=account.account_id,
        service_id=new.service_id,
        uid=act.new_id(),
        model_id=model.model_id,
        kind=ServiceKind.CUSTOM,
        display_name=new.display_name,
        team=new.team,
        labels=new.labels,
        outage_policy=new.outage_policy,
        outage_tokens_max=new.outage_tokens_max,
        credential_policy=policy,
        shared=new.shared,
        exempt_from_model_rules=new.exempt_from_model_rules,
        config_version=config_version,
        model_retired=model.retired,
    )
    require_in_use(account, service)
    return await keep(tx, service, act.now_us)


async def update_service(tx: Transaction, service: Service, update: ServiceUpdate, act: Act) -> Service:
    """Changes a service's settings. The team and the outage policy are part of the configuration for nodes.

    Raises:
        InvalidRequestError: the account has no such team, or a default service shall belong to one.
    """
    exempt = update.exempt_from_model_rules
    changed = replace(
        service,
        display_name=service.display_name if update.display_name is None else update.display_name,
        labels=service.labels if update.labels is None else update.labels,
        credential_policy=update.credential_policy or service.credential_policy,
        shared=service.shared if update.shared is None else update.shared,
        exempt_from_model_rules=service.exempt_from_model_rules if exempt is None else exempt,
    )
    if update.team is not None and update.team != service.team:
        require_custom(service)
        await require_team(tx, service.account_id, update.team)
        changed = replace(changed, team=update.team)
    if update.outage_policy is not None:
        changed = replace(changed, outage_policy=update.outage_policy, outage_tokens_max=update.outage_tokens_max)
    if _as_nodes_see(changed) != _as_nodes_see(service):
        changed = replace(changed, config_version=await tx.next_config_version())
    return await keep(tx, changed, act.now_us)


def _as_nodes_see(service: Service) -> tuple[object, ...]:
    """Those of the settings that `update_service` changes which nodes have in their configuration."""
    return (
        service.team,
        service.outage_policy,
        service.outage_tokens_max,
        service.credential_policy,
        service.shared,
        service.exempt_from_model_rules,
    )


async def delete_service(tx: Transaction, account: Account, service: Service, act: Act) -> Service:
    """Leaves a tombstone of a custom service, and ends the limits that hang on it.

    Raises:
        RefusedError: DEFAULT_SERVICE or RESERVATION_ACTIVE.
    """
    if service.kind is ServiceKind.DEFAULT:
        raise RefusedError(
            Reason.DEFAULT_SERVICE, f"{service.name} is a default service, and those cannot be deleted; disable it."
        )
    active = await tx.reservations.active(account.account_id, [service.service_id], act.now_us)
    for reservation in active.get(service.service_id, []):
        name = reservation_name(account.account_id, service.service_id, reservation.reservation_number)
        message = f"{name} is active; cancel it or wait for its end, then delete the service."
        raise RefusedError(Reason.RESERVATION_ACTIVE, message, reservation=name)
    await end_limits(tx, Place(PlaceKind.SERVICE, service.account_id, service.service_id, service.uid), act.now_us)
    deleted = replace(service, delete_us=act.now_us)
    return await update_status(tx, account, deleted, act.because(EventCause.DELETED), config_changed=True)
