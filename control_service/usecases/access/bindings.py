"""Bindings given and taken."""

from control_service.domain.asker import Asker
from control_service.domain.binding import Binding, Grant
from control_service.domain.binding_rules import (
    BINDINGS_OF_MEMBER_MAX,
    is_ownership,
    require_may_give,
    require_owner_left,
    require_sound,
)
from control_service.domain.errors import InvalidRequestError, ResourceNotFoundError
from control_service.domain.member import service_account_of
from control_service.domain.names import binding_name, parse_service_account
from control_service.usecases.access.scopes import require_scope
from control_service.usecases.access_changes import note_change, remove_bindings
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction
from tallygate._access.scope import Scope


async def create_binding(tx: Transaction, grant: Grant, asker: Asker, act: Act) -> Binding:
    """Gives a role; one that is there already stays as it is.

    Raises:
        InvalidRequestError: there can be no such binding, or the member has too many in this account.
        DeniedError: ROLE_DENIED.
        RefusedError: OWN_BINDING, or RESOURCE_DELETED.
        ResourceNotFoundError: there is no such team.
    """
    require_sound(grant)
    require_may_give(grant, asker)
    await require_scope(tx, grant.scope)
    await _require_living(tx, grant.member)
    known = await tx.bindings.same(grant)
    if known is not None:
        return known
    await _require_few(tx, grant)
    binding = Binding(act.new_id(), grant, asker.member, act.now_us)
    await tx.bindings.add(binding)
    await note_change(tx, members=(grant.member,))
    return binding


async def delete_binding(tx: Transaction, scope: Scope, binding_id: str, asker: Asker) -> Binding:
    """Takes a role away.

    Raises:
        ResourceNotFoundError: there is no such binding.
        DeniedError: ROLE_DENIED.
        RefusedError: OWN_BINDING or LAST_OWNER.
    """
    binding = await tx.bindings.find(scope, binding_id)
    if binding is None:
        raise ResourceNotFoundError(binding_name(scope, binding_id))
    require_may_give(binding.grant, asker)
    if is_ownership(binding):
        require_owner_left(scope, await tx.bindings.owner_count(scope.account_id) - 1, asker)
    await remove_bindings(tx, [binding])
    return binding


async def _require_few(tx: Transaction, grant: Grant) -> None:
    """Makes sure that the member has few roles in this account, or on the platform. Raises InvalidRequestError."""
    where = Scope(grant.scope.account_id)
    held = sum(where.account_id == binding.grant.scope.account_id for binding in await tx.bindings.of((grant.member,)))
    if held >= BINDINGS_OF_MEMBER_MAX:
        what = (
            f"has {held} roles on {where.name} or within it, which is the most that a member can have; take one first"
        )
        raise InvalidRequestError([("member", what)])


async def _require_living(tx: Transaction, member: str) -> None:
    """Makes sure that a service account is there. Raises InvalidRequestError; of other members nobody needs to know."""
    name = service_account_of(member)
    if not name:
        return
    found = await tx.service_accounts.find(*parse_service_account(name))
    if found is None or found.delete_us is not None:
        raise InvalidRequestError([("member", f"must be a service account that there is; {name} is none")])
