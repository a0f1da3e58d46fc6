"""Ports of access: what its use cases need of a transaction besides `ports`: principals, tokens, bindings.

The rules for locks are those of `ports`: what lies in an account is changed with the account locked, all else with the
globals locked. A sign-in and a note of use lock nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from control_service.domain.access_token import AccessToken
from control_service.domain.binding import Binding, Grant
from control_service.domain.principal import Principal
from control_service.domain.service_account import ServiceAccount
from tallygate._access.rights import Sight
from tallygate._access.scope import Scope


class Principals(Protocol):
    """Persons who have signed in, and everybody who was disabled."""

    async def get(self, member: str) -> Principal:
        """What is known of the member; a member of whom nothing is known has neither groups nor a sign-in."""

    async def get_all(self, members: Collection[str]) -> dict[str, Principal]:
        """As `get`, of each of these members."""

    async def save(self, principal: Principal) -> None:
        """Stores what is known of the member, whether or not anything was stored before."""

    async def disabled(self, members: Collection[str]) -> frozenset[str]:
        """Those of these members that are disabled."""

    async def page(self, after: str, limit: int, *, disabled_only: bool) -> list[Principal]:
        """Principals whose member is greater than `after`, by member: those who have signed in, or are disabled."""


@dataclass(frozen=True, slots=True)
class ScopeFilter:
    """Which to list: those of this scope and of all within it, as far as the caller sees them."""

    scope: Scope
    sight: Sight


ScopedKey = tuple[str, str, str]
"""Key of what lies in a scope: ids of account and team, empty where there is none, and its own."""


class ServiceAccounts(Protocol):
    """All service accounts, tombstones included where it is said."""

    async def find(self, scope: Scope, service_account_id: str) -> ServiceAccount | None:
        """The service account, tombstones included; None if the name was never used."""

    async def add(self, service_account: ServiceAccount) -> None:
        """Stores a new service account. Raises ResourceExistsError if the name is or was in use."""

    async def save(self, service_account: ServiceAccount) -> None:
        """Stores the service account as it is now."""

    async def count(self, account_id: str) -> int:
        """Number of service accounts, not deleted, of an account and its teams; of the platform where it is empty."""

    async def any_in(self, scope: Scope) -> bool:
        """Whether a service account, not deleted, was made in this very scope."""

    async def page(self, wanted: ScopeFilter, after: ScopedKey, limit: int) -> list[ServiceAccount]:
        """Service accounts, not deleted, whose key is greater than `after`, by key."""


class AccessTokens(Protocol):
    """All tokens of persons and of service accounts."""

    async def find(self, token_id: str) -> AccessToken | None:
        """The token, deleted ones included for as long as they are kept; None if there is none."""

    async def find_all(self, token_ids: Collection[str]) -> dict[str, AccessToken]:
        """As `find`, those of these that there are, by id."""

    async def lock(self, token_id: str) -> AccessToken | None:
        """The token, locked until the transaction ends; None if there is none."""

    async def add(self, token: AccessToken) -> None:
        """Stores a new token."""

    async def save(self, token: AccessToken) -> None:
        """Stores the token as it is now, but for its last use; it was locked."""

    async def count(self, owner: str) -> int:
        """Number of the owner's tokens that are neither deleted nor given for a sign-in."""

    async def count_sign_ins(self, owner: str, now_us: int) -> int:
        """Number of the owner's tokens that were given for a sign-in and have not ended."""

    async def page(self, owner: str, after: str, limit: int, now_us: int) -> list[AccessToken]:
        """The owner's tokens whose id is greater than `after`, by id; neither deleted ones nor sign-ins that ended."""

    async def end_sign_ins(self, owner: str, now_us: int) -> None:
        """Deletes the owner's tokens that were given for sign-ins."""

    async def end_all(self, owner: str, now_us: int) -> None:
        """Deletes all tokens of the owner."""

    async def enter_pepper(self, fingerprint: bytes) -> bytes:
        """Stores the fingerprint of the pepper unless there is one. Returns the one that is stored."""

    async def note_use(self, token_ids: Collection[str], day_us: int) -> None:
        """Notes that these tokens were used on this day; a later day that is noted stays."""

    async def purge(self, before_us: int, limit: int) -> int:
        """Forgets tokens that were deleted, and sign-ins that expired, before this moment, at most `limit`.

        Returns:
            How many were forgotten.
        """


class Bindings(Protocol):
    """All roles that were given."""

    async def of(self, members: Collection[str]) -> list[Binding]:
        """The bindings of these members."""

    async def find(self, scope: Scope, binding_id: str) -> Binding | None:
        """The binding of this name; None if there is none."""

    async def same(self, grant: Grant) -> Binding | None:
        """The binding that says the same; None if there is none."""

    async def add(self, binding: Binding) -> None:
        """Stores a new binding; none says the same."""

    async def delete(self, bindings: Collection[Binding]) -> None:
        """Deletes these bindings."""

    async def on(self, scope: Scope) -> list[Binding]:
        """The bindings on this very scope."""

    async def owner_count(self, account_id: str) -> int:
        """Number of bindings that make somebody an owner of the account."""

    async def page(self, wanted: ScopeFilter, member: str, after: ScopedKey, limit: int) -> list[Binding]:
        """Bindings, of this member if one is given, whose key is greater than `after`, by key."""


@dataclass(frozen=True, slots=True)
class AccessChanges:
    """Members and tokens, by id, of which something changed: all credentials that they are part of may open less now.

    A member may be a group: then the credentials of all who are in it are meant.
    """

    members: frozenset[str]
    token_ids: frozenset[str]


class AccessVersions(Protocol):
    """The configuration versions at which members and tokens changed last."""

    async def note(self, members: Collection[str], token_ids: Collection[str], version: int) -> None:
        """Notes that something of these members and tokens changes with this version."""

    async def since(self, version: int) -> AccessChanges:
        """Members and tokens that changed with a greater version."""
