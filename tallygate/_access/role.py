"""Roles: what each may do, on which scopes it can be bound, and which roles it may give to others."""

import enum
from typing import Final

from tallygate._access.permission import Permission
from tallygate._access.scope import Scope


class Role(enum.StrEnum):
    """By their names in the contract without the prefix ROLE_."""

    OPERATOR = "OPERATOR"
    AUDITOR = "AUDITOR"
    PRICING = "PRICING"
    NODE = "NODE"
    METER = "METER"
    OWNER = "OWNER"
    BILLING = "BILLING"
    VIEWER = "VIEWER"
    TEAM_ADMIN = "TEAM_ADMIN"
    TEAM_MEMBER = "TEAM_MEMBER"


class ScopeKind(enum.StrEnum):
    """How wide a scope is."""

    PLATFORM = "PLATFORM"
    ACCOUNT = "ACCOUNT"
    TEAM = "TEAM"


_READS_TEAM: Final = frozenset(
    {
        Permission.SERVICES_READ,
        Permission.USAGE_READ,
        Permission.TEAMS_READ,
        Permission.BINDINGS_READ,
        Permission.SERVICE_ACCOUNTS_READ,
        Permission.KEYS_READ,
        Permission.LIMITS_READ,
    }
)
_READS_ACCOUNT: Final = _READS_TEAM | {Permission.ACCOUNTS_READ, Permission.ALERTS_READ}
_MANAGES_TEAM: Final = _READS_TEAM | {
    Permission.SERVICES_MANAGE,
    Permission.BINDINGS_MANAGE,
    Permission.SERVICE_ACCOUNTS_MANAGE,
    Permission.KEYS_MANAGE,
    Permission.LIMITS_MANAGE,
}

PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.OPERATOR: frozenset(Permission),
    Role.AUDITOR: _READS_ACCOUNT | {Permission.OPERATIONS_READ, Permission.AUDIT_READ},
    Role.PRICING: frozenset({Permission.MODELS_MANAGE}),
    Role.NODE: frozenset({Permission.FLEET}),
    Role.METER: frozenset({Permission.METER}),
    Role.OWNER: _READS_ACCOUNT
    | _MANAGES_TEAM
    | {
        Permission.ACCOUNTS_UPDATE,
        Permission.POSTPAID_SWITCH,
        Permission.RESERVATIONS_MANAGE,
        Permission.TEAMS_MANAGE,
        Permission.AUDIT_READ,
        Permission.ALERTS_MANAGE,
    },
    Role.BILLING: _READS_ACCOUNT | {Permission.RESERVATIONS_MANAGE},
    Role.VIEWER: _READS_ACCOUNT,
    Role.TEAM_ADMIN: _MANAGES_TEAM,
    Role.TEAM_MEMBER: _READS_TEAM,
}
"""Permissions of each role, on its scope and on all within it."""

SCOPES: Final[dict[Role, frozenset[ScopeKind]]] = {
    Role.OPERATOR: frozenset({ScopeKind.PLATFORM}),
    Role.AUDITOR: frozenset({ScopeKind.PLATFORM}),
    Role.PRICING: frozenset({ScopeKind.PLATFORM}),
    Role.NODE: frozenset({ScopeKind.PLATFORM}),
    Role.METER: frozenset({ScopeKind.PLATFORM, ScopeKind.ACCOUNT}),
    Role.OWNER: frozenset({ScopeKind.ACCOUNT}),
    Role.BILLING: frozenset({ScopeKind.ACCOUNT}),
    Role.VIEWER: frozenset({ScopeKind.ACCOUNT}),
    Role.TEAM_ADMIN: frozenset({ScopeKind.TEAM}),
    Role.TEAM_MEMBER: frozenset({ScopeKind.TEAM}),
}
"""Kinds of scopes on which a role can be bound."""

_OF_TEAMS: Final = frozenset({Role.TEAM_ADMIN, Role.TEAM_MEMBER})
GIVES: Final[dict[Role, frozenset[Role]]] = {
    Role.OPERATOR: frozenset(Role),
    Role.OWNER: frozenset({Role.OWNER, Role.BILLING, Role.VIEWER, Role.METER}) | _OF_TEAMS,
    Role.TEAM_ADMIN: _OF_TEAMS,
}
"""Roles that a role may give to others, and take from them, on its scope and within it."""


def kind_of(scope: Scope) -> ScopeKind:
    """How wide a scope is."""
    if scope.team_id:
        return ScopeKind.TEAM
    return ScopeKind.ACCOUNT if scope.account_id else ScopeKind.PLATFORM
