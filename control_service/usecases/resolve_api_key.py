"""API keys, resolved: from the hash of what an end user has shown to what it opens as of one moment."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_service.domain.access_token import earliest, has_passed
from control_service.domain.api_key import ApiKey, KeyState, owner_end_us
from control_service.domain.binding import Binding
from control_service.domain.principal import Principal
from control_service.usecases.key_ports import FoundSecret
from control_service.usecases.ports import Transaction


@dataclass(frozen=True, slots=True)
class ResolvedKey:
    """What a secret opens. `key` is None where it is UNKNOWN.

    `members`: those of whom a change changes this: its owner, and the groups that the owner is in. `expire_us`: the
    moment at which time alone ends it.
    """

    state: KeyState
    key: ApiKey | None = None
    members: tuple[str, ...] = ()
    expire_us: int | None = None


UNKNOWN_KEY: Final = ResolvedKey(KeyState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner of keys as it stands: with the bindings of its own and of its groups."""

    principal: Principal
    bindings: Sequence[Binding]

    @property
    def members(self) -> tuple[str, ...]:
        """Those of whom a change changes what its keys open."""
        return (self.principal.member, *self.principal.groups)

    def end_us(self, account_id: str) -> int | None:
        """When it is in the account no more; None for never."""
        return owner_end_us(account_id, self.principal, self.bindings)


async def resolve_secrets(tx: Transaction, secret_hashes: Collection[bytes], now_us: int) -> dict[bytes, ResolvedKey]:
    """What the known ones of these secrets open, by their hashes, with as few queries as one needs."""
    found = await tx.api_keys.by_secret(secret_hashes)
    owners = await owners_of(tx, [one.key for one in found.values()])
    return {secret_hash: _judge(one, owners.get(one.key.owner), now_us) for secret_hash, one in found.items()}


async def states_of(tx: Transaction, keys: Sequence[ApiKey], now_us: int) -> list[KeyState]:
    """Whether each of these keys opens anything, in their order."""
    owners = await owners_of(tx, keys)
    return [key.state(now_us, _end_us(key, owners.get(key.owner))) for key in keys]


async def owners_of(tx: Transaction, keys: Collection[ApiKey]) -> Mapping[str, Owner]:
    """The owners of these keys, by member."""
    members = {key.owner for key in keys if key.owner}
    if not members:
        return {}
    principals = await tx.principals.get_all(members)
    everybody = {*members, *(group for principal in principals.values() for group in principal.groups)}
    held: dict[str, list[Binding]] = {member: [] for member in everybody}
    for binding in await tx.bindings.of(everybody):
        held[binding.grant.member].append(binding)
    return {
        member: Owner(principal, [one for known_as in (member, *principal.groups) for one in held[known_as]])
        for member, principal in principals.items()
    }


def _end_us(key: ApiKey, owner: Owner | None) -> int | None:
    return None if owner is None else owner.end_us(key.account_id)


def _judge(found: FoundSecret, owner: Owner | None, now_us: int) -> ResolvedKey:
    """What a secret opens that was found: one that was rotated out is revoked, whatever the key opens."""
    secret, key = found
    end_us = _end_us(key, owner)
    state = KeyState.REVOKED if has_passed(secret.expire_us, now_us) else key.state(now_us, end_us)
    members = () if owner is None else owner.members
    return ResolvedKey(state, key, members, earliest(key.expire_us, secret.expire_us, end_us))
