"""Ports of API keys: what its use cases need of a transaction besides `ports`.

A change to a key locks its account first. A secret is found by its hash, in whichever account it is.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from control_service.domain.api_key import ApiKey, KeySecret
from tallygate._access.rights import SEES_ALL, Sight


class SecretTakenError(Exception):
    """A hash is that of a secret which is in use, in this account or another."""


class FoundSecret(NamedTuple):
    """A secret with the key that it is of."""

    secret: KeySecret
    key: ApiKey


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """The keys to list, of those that are seen; None for any.

    `service_id`: only keys that may be used for this service of the account.
    """

    account_id: str | None = None
    team: str | None = None
    show_deleted: bool = False
    sight: Sight = SEES_ALL
    service_id: str | None = None


class ApiKeys(Protocol):
    """The API keys of all accounts, with their secrets."""

    async def find(self, account_id: str, key_id: str) -> ApiKey | None:
        """The key, tombstones included; None if the name was never used."""

    async def used_ids(self, account_id: str, key_ids: Collection[str]) -> frozenset[str]:
        """Those of these ids that are or were in use in the account."""

    async def add(self, keys: Collection[ApiKey], secrets: Collection[KeySecret]) -> None:
        """Stores new keys with their secrets; their ids were never used. Raises SecretTakenError."""

    async def save(self, key: ApiKey) -> None:
        """Stores the key as it is now; its account was locked. A deleted one's secrets are forgotten in a while."""

    async def taken(self, secret_hashes: Collection[bytes]) -> frozenset[bytes]:
        """Those of these hashes that are in use."""

    async def replace_secret(self, key: ApiKey, secret: KeySecret, end_us: int, now_us: int) -> None:
        """Stores another secret of the key; the one of now ends at `end_us`, those before it now.

        Raises SecretTakenError.
        """

    async def by_secret(self, secret_hashes: Collection[bytes]) -> dict[bytes, FoundSecret]:
        """Those of these secrets that are known, by their hashes."""

    async def changed(self, since_version: int) -> list[bytes]:
        """Hashes of all secrets of keys that changed with a greater version."""

    async def page(self, wanted: KeyFilter, after: tuple[str, str], limit: int) -> list[ApiKey]:
        """Keys whose (account id, key id) is greater than `after`, in that order."""

    async def team_of(self, account_id: str, key_id: str) -> str:
        """The id of the key's team; empty where it has none, or where there is no such key."""

    async def in_team(self, account_id: str, team_id: str) -> str | None:
        """The id of a key, not deleted, that belongs to the team; None if there is none."""

    async def any_in(self, account_id: str) -> bool:
        """Whether the account has, or ever had, a key."""

    async def purge(self, before_us: int, limit: int) -> int:
        """Forgets secrets that ended, and deletes temporary keys that did, before this moment, at most `limit` of each.

        Returns:
            How many, of that which there was more of.
        """
