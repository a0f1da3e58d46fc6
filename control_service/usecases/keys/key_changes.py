"""API keys changed, rotated, disabled, enabled, deleted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from control_service.domain.account import Account
from control_service.domain.api_key import ApiKey, KeyScope, KeySecret
from control_service.domain.errors import InvalidRequestError, Reason, RefusedError, ResourceNotFoundError
from control_service.domain.limit import Place, PlaceKind
from control_service.domain.names import api_key_name
from control_service.usecases.idempotent_call import Act
from control_service.usecases.keys.key_mint import KeyMint
from control_service.usecases.keys.key_settings import Written, require_reach
from control_service.usecases.keys.key_views import KeyView, view_of
from control_service.usecases.keys.new_keys import ShownKey
from control_service.usecases.limit_changes import end_limits
from control_service.usecases.ports import Transaction


@dataclass(frozen=True, slots=True)
class KeyUpdate:
    """New settings of a key; None leaves a setting as it is. `clear_expiry`: it shall have no end any more."""

    display_name: str | None = None
    scope: KeyScope | None = None
    routes: Mapping[str, str] | None = None
    networks: tuple[str, ...] | None = None
    expire_us: int | None = None
    clear_expiry: bool = False


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """A key that shall have another secret, and for how long the one before stays valid."""

    key_id: str
    overlap_us: int


async def update_key(tx: Transaction, account: Account, key_id: str, update: KeyUpdate, act: Act) -> KeyView:
    """Changes a key's settings.

    Raises:
        ResourceNotFoundError: there is no such key.
        RefusedError: RESOURCE_DELETED.
        InvalidRequestError: something that is named is not within reach; the end is not to come, or is not for ever.
    """
    before = await _living(tx, account.account_id, key_id)
    moves_end = update.expire_us is not None or update.clear_expiry
    if moves_end and before.temporary:
        raise InvalidRequestError([("expire_time", f"must be left out: {before.name} is temporary, and ends as it is")])
    if update.expire_us is not None and update.expire_us <= act.now_us:
        raise InvalidRequestError([("expire_time", "must be a time to come; disable the key to end it now")])
    changed = replace(
        before,
        display_name=before.display_name if update.display_name is None else update.display_name,
        scope=update.scope or before.scope,
        routes=before.routes if update.routes is None else update.routes,
        networks=before.networks if update.networks is None else update.networks,
        expire_us=update.expire_us if moves_end else before.expire_us,
    )
    await require_reach(tx, account, Written(changed, before), act.now_us)
    return await _keep(tx, before, changed, act)


async def rotate_key(tx: Transaction, account: Account, rotation: KeyRotation, mint: KeyMint, act: Act) -> ShownKey:
    """Gives a key another secret. All else stays, its unique id above all, by which everything is counted.

    Raises ResourceNotFoundError, or RefusedError: RESOURCE_DELETED or TOKENS_NOT_KEPT.
    """
    minted = mint.new_secret()
    before = await _living(tx, account.account_id, rotation.key_id)
    end_us = act.now_us + rotation.overlap_us
    secret = KeySecret(minted.secret_hash, before.account_id, before.key_id)
    await tx.api_keys.replace_secret(before, secret, end_us, act.now_us)
    changed = replace(before, secret_id=minted.secret_id, previous_secret_expire_us=end_us)
    return ShownKey(await _keep(tx, before, changed, act), minted.text)


async def set_disabled(tx: Transaction, account: Account, key_id: str, act: Act, *, disabled: bool) -> KeyView:
    """Closes or opens what a key opens. Raises ResourceNotFoundError, or RefusedError RESOURCE_DELETED."""
    return await _change(tx, account, key_id, act, lambda key: replace(key, disabled=disabled))


async def delete_key(tx: Transaction, account: Account, key_id: str, act: Act) -> KeyView:
    """Leaves a tombstone, and ends the limits of the key.

    Raises ResourceNotFoundError, or RefusedError RESOURCE_DELETED.
    """
    view = await _change(tx, account, key_id, act, lambda key: replace(key, delete_us=act.now_us))
    await end_limits(tx, Place(PlaceKind.KEY, account.account_id, key_id, view.key.uid), act.now_us)
    return view


async def _change(
    tx: Transaction, account: Account, key_id: str, act: Act, change: Callable[[ApiKey], ApiKey]
) -> KeyView:
    before = await _living(tx, account.account_id, key_id)
    return await _keep(tx, before, change(before), act)


async def _keep(tx: Transaction, before: ApiKey, changed: ApiKey, act: Act) -> KeyView:
    """Stores a change with a version of its own, so that nodes learn of it; nothing happens where there is none."""
    if changed != before:
        changed = replace(changed, update_us=act.now_us, config_version=await tx.next_config_version())
        await tx.api_keys.save(changed)
    return await view_of(tx, changed, act.now_us)


async def _living(tx: Transaction, account_id: str, key_id: str) -> ApiKey:
    """The key, not deleted. Raises ResourceNotFoundError, or RefusedError RESOURCE_DELETED."""
    found = await tx.api_keys.find(account_id, key_id)
    if found is None:
        raise ResourceNotFoundError(api_key_name(account_id, key_id))
    if found.delete_us is not None:
        message = f"{found.name} is deleted, and names are never used again; create another key."
        raise RefusedError(Reason.RESOURCE_DELETED, message, resource=found.name)
    return found
