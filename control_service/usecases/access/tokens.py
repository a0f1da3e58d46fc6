"""Tokens made, rotated, disabled, enabled and deleted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from control_service.domain.access_token import PERSONAL_VALID_FOR_US, AccessToken, earliest
from control_service.domain.asker import Asker, lacks
from control_service.domain.errors import InvalidRequestError, ResourceNotFoundError
from control_service.domain.member import MemberKind, kind_of_member, service_account_member
from control_service.domain.names import access_token_name, parse_service_account
from control_service.domain.narrowing import NO_NARROWING, Narrowing
from control_service.usecases.access.service_accounts import get_service_account, require_gives_all
from control_service.usecases.access.token_mint import MintedToken, TokenMint
from control_service.usecases.access_changes import note_change
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction
from tallygate._access.permission import Permission
from tallygate._access.scope import scope_of_resource

TOKENS_OF_OWNER_MAX: Final = 1_000
"""Maximum number of tokens of one owner that are not deleted; sign-ins do not count."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be made. `service_account`: its name; empty for the asker's own. `valid_for_us`: None by default."""

    service_account: str
    display_name: str
    valid_for_us: int | None
    narrowing: Narrowing


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A token as its name has it: of which service account, empty for a person's, and its id."""

    service_account: str
    token_id: str

    @property
    def name(self) -> str:
        """Its resource name."""
        return access_token_name(self.service_account, self.token_id)


@dataclass(frozen=True, slots=True)
class Rotation:
    """A token that shall have another secret, and how long the one before stays valid."""

    key: TokenKey
    overlap_us: int


@dataclass(frozen=True, slots=True)
class ShownOnce:
    """A token with the secret that it was just given."""

    token: AccessToken
    minted: MintedToken


async def create_token(tx: Transaction, new: NewToken, mint: TokenMint, asker: Asker, act: Act) -> ShownOnce:
    """Makes a token for a service account or for the asker.

    Raises:
        InvalidRequestError: the asker is no person and names no service account; or a narrowing that is wider than that
            of the token that asks, or a later end; or the owner has too many tokens.
        ResourceNotFoundError: there is no such service account.
        DeniedError: PERMISSION_DENIED, or ROLE_DENIED: the service account has a role that the asker may not give.
        RefusedError: RESOURCE_DELETED, or TOKENS_NOT_KEPT.
    """
    owner = await owner_of(tx, new.service_account, asker, Permission.SERVICE_ACCOUNTS_MANAGE)
    narrowing = await _allowed_narrowing(tx, owner, new.narrowing, asker)
    if await tx.access_tokens.count(owner) >= TOKENS_OF_OWNER_MAX:
        what = f"has {TOKENS_OF_OWNER_MAX} tokens already, which is the most that an owner can have; delete some first"
        raise InvalidRequestError([("service_account", what)])
    expire_us = await _allowed_end(tx, owner, new, asker, act.now_us)
    minted = mint.new_token()
    token = AccessToken(
        token_id=minted.token_id,
        owner=owner,
        display_name=new.display_name,
        secret_hash=minted.secret_hash,
        create_us=act.now_us,
        narrowing=narrowing,
        expire_us=expire_us,
    )
    await tx.access_tokens.add(token)
    return ShownOnce(token, minted)


async def rotate_token(tx: Transaction, rotation: Rotation, mint: TokenMint, asker: Asker, act: Act) -> ShownOnce:
    """Gives a token another secret. Raises what `change_token` raises, and RefusedError TOKENS_NOT_KEPT."""
    key, overlap_us = rotation.key, rotation.overlap_us
    minted = mint.new_secret(key.token_id)
    rotated = await change_token(
        tx, key, asker, lambda token: token.rotated(minted.secret_hash, overlap_us, act.now_us), shows_secret=True
    )
    return ShownOnce(rotated, minted)


async def change_token(
    tx: Transaction,
    key: TokenKey,
    asker: Asker,
    change: Callable[[AccessToken], AccessToken],
    *,
    shows_secret: bool = False,
    opens_more: bool = False,
) -> AccessToken:
    """Changes a token; nothing happens where the change leaves it as it is.

    `shows_secret`: the asker will learn its secret, and so must have as much as it opens. `opens_more`: whoever has its
    secret may do more afterwards, and so may not be the asker with a narrowed token; a person's is opened by operators.

    Raises:
        ResourceNotFoundError: there is no such token, or it is another person's.
        DeniedError: PERMISSION_DENIED, or ROLE_DENIED.
    """
    require_own(key.service_account, asker, Permission.SERVICE_ACCOUNTS_MANAGE)
    token = await tx.access_tokens.lock(key.token_id)
    is_there = token is not None and token.delete_us is None and token.name == key.name
    if token is None or not is_there or (asker.own_only and token.owner != asker.member):
        raise ResourceNotFoundError(key.name)
    is_another_persons = token.owner != asker.member and kind_of_member(token.owner) is MemberKind.PERSON
    if shows_secret or (opens_more and not is_another_persons):
        await _require_as_wide(tx, token, asker)
    changed = change(token)
    if changed != token:
        await tx.access_tokens.save(changed)
        await note_change(tx, token_ids=(token.token_id,))
    return changed


async def owner_of(tx: Transaction, service_account: str, asker: Asker, permission: Permission) -> str:
    """The member whose tokens are meant: the service account's, or the asker's own where none is named.

    Raises:
        InvalidRequestError: none is named, and the asker is no person.
        ResourceNotFoundError: there is no such service account.
        RefusedError: RESOURCE_DELETED.
        DeniedError: PERMISSION_DENIED, the asker may act on what is its own only.
    """
    if service_account:
        require_own(service_account, asker, permission)
        return (await get_service_account(tx, *parse_service_account(service_account))).member
    if not asker.member or kind_of_member(asker.member) is not MemberKind.PERSON:
        raise InvalidRequestError([("service_account", "must be set: only persons have tokens of their own")])
    return asker.member


def require_own(service_account: str, asker: Asker, permission: Permission) -> None:
    """Makes sure that an asker who lacks the permission acts on its own: on none that is named, or on the asker itself.

    Raises:
        DeniedError: PERMISSION_DENIED, it is another's.
    """
    if not asker.own_only or not service_account or asker.member == service_account_member(service_account):
        return
    scope, _ = parse_service_account(service_account)
    raise lacks(permission, scope, f"This call needs the permission {permission} on {scope.name}.")


async def _allowed_narrowing(tx: Transaction, owner: str, wanted: Narrowing, asker: Asker) -> Narrowing:
    """The narrowing of a new token: of an owner's own, never wider than that of the token by which it is asked for."""
    if owner != asker.member:
        await require_gives_all(tx, owner, asker)
        return wanted
    limit = await _limit_of(tx, asker)
    narrowing = Narrowing(wanted.role or limit.role, wanted.scope or limit.scope)
    if limit.holds(narrowing):
        return narrowing
    is_role = narrowing.role is not limit.role and limit.role is not None
    path = "narrowed_role" if is_role else "narrowed_scope"
    raise InvalidRequestError([(path, "must not be wider than that of the token which this call came with")])


async def _allowed_end(tx: Transaction, owner: str, new: NewToken, asker: Asker, now_us: int) -> int | None:
    """The end of a new token: of an owner's own, never later than that of the token by which it is asked for."""
    valid_for_us = new.valid_for_us or (None if new.service_account else PERSONAL_VALID_FOR_US)
    expire_us = None if valid_for_us is None else now_us + valid_for_us
    shown = await _shown_token(tx, asker)
    if owner != asker.member or shown is None or shown.opens_until_us is None:
        return expire_us
    if new.valid_for_us is not None and now_us + new.valid_for_us > shown.opens_until_us:
        raise InvalidRequestError([("valid_for", "must not end after the token which this call came with")])
    return earliest(expire_us, shown.opens_until_us)


async def _require_as_wide(tx: Transaction, token: AccessToken, asker: Asker) -> None:
    """Makes sure that the asker may do whatever the token may do, whose secret it will learn. Raises DeniedError."""
    needed, scope = Permission.SERVICE_ACCOUNTS_MANAGE, scope_of_resource(token.name)
    if token.owner != asker.member:
        if kind_of_member(token.owner) is MemberKind.PERSON:
            raise lacks(needed, scope, f"Nobody but {token.owner} learns a secret of {token.name}; delete it instead.")
        await require_gives_all(tx, token.owner, asker)
    else:
        await _require_within_limit(tx, token, asker)


async def _require_within_limit(tx: Transaction, token: AccessToken, asker: Asker) -> None:
    """Makes sure that a token of the asker's is no wider, and lasts no longer, than the one by which it is asked for.

    Raises:
        DeniedError: PERMISSION_DENIED.
    """
    needed, scope = Permission.SERVICE_ACCOUNTS_MANAGE, scope_of_resource(token.name)
    if not (await _limit_of(tx, asker)).holds(token.narrowing):
        message = f"{token.name} may do more than the token which this call came with; use a wider one."
        raise lacks(needed, scope, message)
    shown = await _shown_token(tx, asker)
    until_us = None if shown is None else shown.opens_until_us
    if until_us is not None and (token.expire_us is None or token.expire_us > until_us):
        message = (
            f"{token.name} lasts longer than the token which this call came with; use one that does not end before."
        )
        raise lacks(needed, scope, message)


async def _limit_of(tx: Transaction, asker: Asker) -> Narrowing:
    """The narrowing of the token by which the asker has proved itself."""
    token = await _shown_token(tx, asker)
    return NO_NARROWING if token is None else token.narrowing


async def _shown_token(tx: Transaction, asker: Asker) -> AccessToken | None:
    """The token by which the asker has proved itself; None where that was by something else."""
    return await tx.access_tokens.find(asker.token_id) if asker.token_id else None
