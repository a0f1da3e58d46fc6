"""What a caller may do in the end: roles on scopes, after groups were resolved and a token's limits applied."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from tallygate._access.permission import Permission
from tallygate._access.role import GIVES, PERMISSIONS, Role
from tallygate._access.scope import PLATFORM, Scope


@dataclass(frozen=True, slots=True)
class Right:
    """A set of permissions on a scope.

    `node_names`: of the role NODE, names or prefixes that end in `*`; empty for any.
    `narrowed_role`: only what this role may do as well, as a narrowed token has it; None for all.
    """

    role: Role
    scope: Scope
    node_names: tuple[str, ...] = ()
    narrowed_role: Role | None = None

    def has(self, permission: Permission) -> bool:
        """Whether this right includes the permission, on its scope."""
        narrowed = self.narrowed_role
        return permission in PERMISSIONS[self.role] and (narrowed is None or permission in PERMISSIONS[narrowed])

    def gives(self, role: Role) -> bool:
        """Whether this right lets the role be given to others, on its scope."""
        return all(role in GIVES.get(own, ()) for own in self._roles)

    @property
    def _roles(self) -> tuple[Role, ...]:
        return (self.role,) if self.narrowed_role is None else (self.role, self.narrowed_role)


@dataclass(frozen=True, slots=True)
class Sight:
    """Where a caller has a permission: everywhere, or in these accounts and these teams (account id, team id)."""

    everywhere: bool = False
    account_ids: frozenset[str] = frozenset()
    teams: frozenset[tuple[str, str]] = frozenset()

    def shows(self, account_id: str, team_id: str = "") -> bool:
        """Whether a resource of this account and team is seen; without a team, whether the account's own is."""
        return self.everywhere or account_id in self.account_ids or (account_id, team_id) in self.teams

    def teams_of(self, account_id: str) -> frozenset[str] | None:
        """Ids of the teams of this account to which an answer is narrowed; None where it is not narrowed."""
        if self.everywhere or account_id in self.account_ids:
            return None
        return frozenset(team_id for account, team_id in self.teams if account == account_id)


SEES_ALL: Final = Sight(everywhere=True)


class TeamAdmission(NamedTuple):
    """A permission on a team, by which a call on a service of the team is let in: it may have been moved since."""

    permission: Permission
    team: Scope


@dataclass(frozen=True, slots=True)
class Rights:
    """All rights of a caller. They add up."""

    rights: tuple[Right, ...] = field(default=())

    def allows(self, permission: Permission, scope: Scope) -> bool:
        """Whether the permission is given on this scope, or on a wider one."""
        return any(right.scope.holds(scope) and right.has(permission) for right in self.rights)

    def allows_within(self, permission: Permission, scope: Scope) -> bool:
        """Whether the permission is given on this scope, on a wider one, or on anything within it."""
        return any(
            (right.scope.holds(scope) or scope.holds(right.scope)) and right.has(permission) for right in self.rights
        )

    def knows(self, account_id: str) -> bool:
        """Whether the caller has any right in this account, and so may learn what is in it."""
        return any(right.scope.account_id in ("", account_id) for right in self.rights)

    def sight(self, permission: Permission) -> Sight:
        """Where the permission is given."""
        scopes = [right.scope for right in self.rights if right.has(permission)]
        return Sight(
            everywhere=PLATFORM in scopes,
            account_ids=frozenset(scope.account_id for scope in scopes if scope.account_id and not scope.team_id),
            teams=frozenset((scope.account_id, scope.team_id) for scope in scopes if scope.team_id),
        )

    def may_give(self, role: Role, scope: Scope) -> bool:
        """Whether the caller may give this role on this scope to others, and take it from them."""
        return any(right.scope.holds(scope) and right.gives(role) for right in self.rights)

    def may_be_node(self, name: str) -> bool:
        """Whether the caller may speak for the metering node of this name."""
        return any(
            right.has(Permission.FLEET) and right.scope == PLATFORM and _is_named(name, right.node_names)
            for right in self.rights
        )

    def narrowed(self, role: Role | None, scope: Scope | None) -> "Rights":
        """What is left of these rights, as bound, within a role's permissions and a scope; None for no limit."""
        assert all(right.narrowed_role is None for right in self.rights)
        rights: Iterable[Right] = self.rights
        if scope is not None:
            rights = (narrow for right in rights if (narrow := _on_scope(right, scope)) is not None)
        if role is not None:
            rights = (replace(right, narrowed_role=role) for right in rights)
        return Rights(tuple(rights))


NO_RIGHTS: Final = Rights()
ALL_RIGHTS: Final = Rights((Right(Role.OPERATOR, PLATFORM),))
"""Rights of every caller at a server that asks for no proof."""


def _on_scope(right: Right, scope: Scope) -> Right | None:
    if scope.holds(right.scope):
        return right
    return replace(right, scope=scope) if right.scope.holds(scope) else None


def _is_named(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns
    )
