"""Service accounts made and deleted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from control_service.domain.asker import Asker
from control_service.domain.binding_rules import is_ownership, require_owner_left
from control_service.domain.errors import (
    InvalidRequestError,
    Reason,
    RefusedError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from control_service.domain.member import OPERATOR
from control_service.domain.names import service_account_name
from control_service.domain.service_account import ServiceAccount
from control_service.usecases.access.scopes import require_scope
from control_service.usecases.access_changes import note_change, remove_bindings
from control_service.usecases.access_ports import ScopedKey, ScopeFilter
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction
from tallygate._access.scope import Scope

SERVICE_ACCOUNTS_OF_ACCOUNT_MAX: Final = 10_000
"""Maximum number of service accounts of one account and its teams, or of the platform itself, that are not deleted."""


@dataclass(frozen=True, slots=True)
class ServiceAccountView:
    """A service account as it is shown."""

    service_account: ServiceAccount
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class NewServiceAccount:
    """The settings of a service account to be made."""

    scope: Scope
    service_account_id: str
    display_name: str


async def create_service_account(tx: Transaction, new: NewServiceAccount, asker: Asker, act: Act) -> ServiceAccountView:
    """Makes a service account without any role.

    Raises:
        ResourceExistsError: the name is or was in use, or is the first operator's.
        ResourceNotFoundError: there is no such team.
        RefusedError: RESOURCE_DELETED, the team is deleted.
        InvalidRequestError: the account has too many service accounts; or the platform, of its own.
    """
    await require_scope(tx, new.scope)
    if await tx.service_accounts.count(new.scope.account_id) >= SERVICE_ACCOUNTS_OF_ACCOUNT_MAX:
        where = f"accounts/{new.scope.account_id}" if new.scope.account_id else "the platform"
        most = f"{SERVICE_ACCOUNTS_OF_ACCOUNT_MAX:,}"
        what = f"cannot be made: {where} has {most} service accounts already, the most there can be; delete some first"
        raise InvalidRequestError([("name", what)])
    made = ServiceAccount(new.scope, new.service_account_id, new.display_name, asker.member, act.now_us)
    if made.member == OPERATOR:
        raise ResourceExistsError(made.name)
    await tx.service_accounts.add(made)
    return ServiceAccountView(made)


async def get_service_account(tx: Transaction, scope: Scope, service_account_id: str) -> ServiceAccount:
    """The service account, not deleted. Raises ResourceNotFoundError, or RefusedError RESOURCE_DELETED."""
    found = await tx.service_accounts.find(scope, service_account_id)
    if found is None:
        raise ResourceNotFoundError(service_account_name(scope, service_account_id))
    if found.delete_us is not None:
        message = f"{found.name} is deleted, and names are never used again; create another service account."
        raise RefusedError(Reason.RESOURCE_DELETED, message, resource=found.name)
    return found


async def delete_service_account(
    tx: Transaction, scope: Scope, service_account_id: str, asker: Asker, act: Act
) -> ServiceAccountView:
    """Deletes a service account with its tokens and bindings; its name is never used again.

    Raises:
        ResourceNotFoundError: there is none of that name.
        RefusedError: RESOURCE_DELETED, or LAST_OWNER.
        DeniedError: ROLE_DENIED, it has a role that the asker may not take.
    """
    found = await get_service_account(tx, scope, service_account_id)
    bindings = await tx.bindings.of((found.member,))
    for binding in bindings:
        asker.require_gives(binding.grant.role, binding.grant.scope)
        if is_ownership(binding):
            owned = binding.grant.scope
            require_owner_left(owned, await tx.bindings.owner_count(owned.account_id) - 1, asker)
    disabled = (await tx.principals.get(found.member)).disabled
    await tx.service_accounts.save(replace(found, delete_us=act.now_us))
    await tx.access_tokens.end_all(found.member, act.now_us)
    await remove_bindings(tx, bindings)
    await note_change(tx, members=(found.member,))
    return ServiceAccountView(found, disabled)


async def require_gives_all(tx: Transaction, member: str, asker: Asker) -> None:
    """Makes sure that the asker may give every role that a service account has. Raises DeniedError ROLE_DENIED."""
    for binding in await tx.bindings.of((member,)):
        asker.require_gives(binding.grant.role, binding.grant.scope)


async def list_service_accounts(
    tx: Transaction, wanted: ScopeFilter, after: ScopedKey, limit: int
) -> Sequence[ServiceAccountView]:
    """Service accounts whose key is greater than `after`, by key."""
    found = await tx.service_accounts.page(wanted, after, limit)
    disabled = await tx.principals.disabled([one.member for one in found])
    return [ServiceAccountView(one, one.member in disabled) for one in found]
