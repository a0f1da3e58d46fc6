"""API keys created, with a new secret or one that is brought along, and many brought along at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from control_service.domain.account import Account
from control_service.domain.api_key import EVERYTHING, ApiKey, KeyScope, KeySecret
from control_service.domain.brought_secret import UNSUITABLE, is_suitable
from control_service.domain.errors import InvalidRequestError, ResourceExistsError
from control_service.domain.in_use import require_open
from control_service.domain.names import api_key_name
from control_service.usecases.idempotent_call import Act
from control_service.usecases.key_ports import SecretTakenError
from control_service.usecases.keys.key_mint import KeyMint
from control_service.usecases.keys.key_settings import Written, require_reach, require_team_and_owner
from control_service.usecases.keys.key_views import KeyView, view_of
from control_service.usecases.ports import Transaction


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be made. `secret`: brought along; empty for a new one. `temporary_us`: its validity, if temporary."""

    key_id: str
    display_name: str = ""
    team: str = ""
    owner: str = ""
    scope: KeyScope = EVERYTHING
    routes: dict[str, str] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    expire_us: int | None = None
    temporary_us: int | None = None
    secret: str = field(default="", repr=False)
    creator: str = ""


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """A key to be brought along by the SHA-256 of its secret. `disabled`: it opens nothing until it is enabled."""

    new: NewKey
    secret_sha256: bytes = field(repr=False)
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A key with the secret that it was just given; empty where it was brought along."""

    view: KeyView
    secret: str = field(repr=False)


async def create_key(tx: Transaction, account: Account, new: NewKey, mint: KeyMint, act: Act) -> ShownKey:
    """Makes a key.

    Raises:
        ResourceExistsError: the name is or was in use.
        InvalidRequestError: the secret is unsuitable or taken, which nobody can tell apart; the end is not to come; or
            there is no such team or owner, or something that is named is not within reach.
        RefusedError: ACCOUNT_CLOSED or TOKENS_NOT_KEPT.
    """
    if new.secret and not is_suitable(new.secret):
        raise _unsuitable("secret")
    minted = None if new.secret else mint.new_secret()
    secret_hash = minted.secret_hash if minted else mint.hash_of_text(new.secret)
    key = await _checked(tx, account, new, act)
    if await tx.api_keys.used_ids(account.account_id, [key.key_id]):
        raise ResourceExistsError(key.name)
    if minted:
        key = replace(key, secret_id=minted.secret_id)
    await _add(tx, [key], [secret_hash], "secret")
    return ShownKey(await view_of(tx, key, act.now_us), minted.text if minted else "")


async def import_keys(
    tx: Transaction, account: Account, imported: Sequence[ImportedKey], mint: KeyMint, act: Act
) -> int:
    """Brings keys along by hashes of their secrets: all of them, or none. Returns how many.

    Raises what `create_key` raises; a hash that comes twice is taken as well.
    """
    hashes = [mint.hash_of(one.secret_sha256) for one in imported]
    taken = await tx.api_keys.taken(hashes)
    for place, secret_hash in enumerate(hashes):
        if secret_hash in taken or secret_hash in hashes[:place]:
            raise _unsuitable(f"keys[{place}].secret_sha256")
    used = await tx.api_keys.used_ids(account.account_id, [one.new.key_id for one in imported])
    if used:
        raise ResourceExistsError(api_key_name(account.account_id, min(used)))
    checked = [await _checked(tx, account, one.new, act, f"keys[{place}].") for place, one in enumerate(imported)]
    keys = [replace(key, disabled=one.disabled) for key, one in zip(checked, imported, strict=True)]
    await _add(tx, keys, hashes, "keys")
    return len(keys)


async def _checked(tx: Transaction, account: Account, new: NewKey, act: Act, path: str = "") -> ApiKey:
    require_open(account)
    if new.expire_us is not None and new.expire_us <= act.now_us:
        raise InvalidRequestError([(f"{path}expire_time", "must be a time to come; leave it out for no end")])
    key = ApiKey(
        account_id=account.account_id,
        key_id=new.key_id,
        uid=act.new_id(),
        display_name=new.display_name,
        team=new.team,
        owner=new.owner,
        scope=new.scope,
        routes=new.routes,
        networks=new.networks,
        expire_us=new.expire_us if new.temporary_us is None else act.now_us + new.temporary_us,
        temporary=new.temporary_us is not None,
        creator=new.creator,
        create_us=act.now_us,
        update_us=act.now_us,
    )
    await require_team_and_owner(tx, key, path)
    await require_reach(tx, account, Written(key, path=path), act.now_us)
    return key


async def _add(tx: Transaction, keys: Sequence[ApiKey], hashes: Sequence[bytes], path: str) -> None:
    if await tx.api_keys.taken(hashes):
        raise _unsuitable(path)
    version = await tx.next_config_version()
    secrets = [
        KeySecret(secret_hash, key.account_id, key.key_id) for key, secret_hash in zip(keys, hashes, strict=True)
    ]
    try:
        await tx.api_keys.add([replace(key, config_version=version) for key in keys], secrets)
    except SecretTakenError as error:
        raise _unsuitable(path) from error


def _unsuitable(path: str) -> InvalidRequestError:
    return InvalidRequestError([(path, UNSUITABLE)])
