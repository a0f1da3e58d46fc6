"""Askers: whoever asks for a change of who may do what, and what they may do themselves."""

from dataclasses import dataclass

from control_service.domain.errors import DeniedError, Reason
from tallygate._access.permission import Permission
from tallygate._access.rights import Rights
from tallygate._access.role import Role
from tallygate._access.scope import PLATFORM, Scope


@dataclass(frozen=True, slots=True)
class Asker:
    """The member that a call proved, with its groups and rights; no member where the server asks for no proof.

    `token_id`: of the token that proved it; empty without one. `own_only`: the permission that the call needs is
    lacking, and it may be done to what is the asker's own.
    """

    member: str
    groups: tuple[str, ...]
    rights: Rights
    token_id: str = ""
    own_only: bool = False

    @property
    def is_operator(self) -> bool:
        """Whether the asker may do everything."""
        return self.rights.may_give(Role.OPERATOR, PLATFORM)

    def is_or_is_in(self, member: str) -> bool:
        """Whether the member is the asker, or a group that the asker is in."""
        return member in (self.member, *self.groups)

    def require_gives(self, role: Role, scope: Scope) -> None:
        """Raises DeniedError ROLE_DENIED unless the asker may give this role, and take it."""
        if self.rights.may_give(role, scope):
            return
        raise DeniedError(
            Reason.ROLE_DENIED,
            f"To give or take {role} on {scope.name}, and what proves who has it, one needs a role that may give it.",
            role=role,
            scope=scope.name,
        )


def lacks(permission: Permission, scope: Scope, message: str) -> DeniedError:
    """The error for an asker who lacks a permission on a scope."""
    return DeniedError(Reason.PERMISSION_DENIED, message, permission=permission, scope=scope.name)
