"""Principals disabled and enabled."""

from collections.abc import Collection
from dataclasses import replace

from control_service.domain.asker import Asker, lacks
from control_service.domain.errors import InvalidRequestError, ResourceNotFoundError
from control_service.domain.member import issuer_of, service_account_of
from control_service.domain.names import parse_service_account
from control_service.domain.principal import Principal
from control_service.usecases.access.service_accounts import require_gives_all
from control_service.usecases.access_changes import note_change
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction
from tallygate._access.permission import Permission
from tallygate._access.scope import PLATFORM


def require_may_disable(member: str, asker: Asker) -> None:
    """Makes sure that the asker may disable and enable this member.

    Raises:
        DeniedError: the asker manages neither principals nor, if it is one, this service account.
        ResourceNotFoundError: it is a service account of an account in which the asker has no right at all.
    """
    if not asker.own_only:
        return
    name = service_account_of(member)
    scope = parse_service_account(name)[0] if name else PLATFORM
    if scope.account_id and not asker.rights.knows(scope.account_id):
        raise ResourceNotFoundError(name)
    if not name:
        needed = Permission.PRINCIPALS_MANAGE
        raise lacks(needed, PLATFORM, f"To disable or enable {member} needs the permission {needed} on the platform.")
    needed = Permission.SERVICE_ACCOUNTS_MANAGE
    if not asker.rights.allows(needed, scope):
        raise lacks(needed, scope, f"To disable or enable {name} needs the permission {needed} on {scope.name}.")


async def set_disabled(
    tx: Transaction, member: str, asker: Asker, act: Act, *, disabled: bool, issuers: Collection[str] | None = None
) -> Principal:
    """Closes or opens every door to a principal. Sign-ins that it had are not given back.

    `issuers`: at which people may sign in; None where that is not known.

    Raises:
        ResourceNotFoundError: it is a service account, and there is none of that name.
        DeniedError: ROLE_DENIED, a service account is to be enabled that has a role which the asker may not give.
        InvalidRequestError: a person is to be disabled who cannot sign in, and never did.
    """
    name = service_account_of(member)
    if name:
        found = await tx.service_accounts.find(*parse_service_account(name))
        if found is None or found.delete_us is not None:
            raise ResourceNotFoundError(name)
        if not disabled:
            # Whoever knows its secrets may do all of that again.
            await require_gives_all(tx, member, asker)
    principal = await tx.principals.get(member)
    if disabled and principal.last_sign_in_us is None:
        _require_issuer(member, issuers)
    if principal.disabled is disabled:
        return principal
    changed = replace(principal, disabled=disabled)
    await tx.principals.save(changed)
    if disabled:
        await tx.access_tokens.end_sign_ins(member, act.now_us)
    await note_change(tx, members=(member,))
    return changed


def _require_issuer(member: str, issuers: Collection[str] | None) -> None:
    """Makes sure that a person's issuer is one at which people sign in: else somebody else is meant, who goes on."""
    issuer = issuer_of(member)
    if issuers is not None and issuer and issuer not in issuers:
        what = f"names the issuer {issuer}, at which nobody signs in here; name the person as `WhoAmI` does"
        raise InvalidRequestError([("member", what)])
