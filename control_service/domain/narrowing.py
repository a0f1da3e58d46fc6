"""Narrowing: how much of its owner's rights a token has."""

from dataclasses import dataclass
from typing import Final

from tallygate._access.rights import Rights
from tallygate._access.role import Role
from tallygate._access.scope import Scope


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Only what a role may do, only on a scope; None for no limit."""

    role: Role | None = None
    scope: Scope | None = None

    def of(self, rights: Rights) -> Rights:
        """What is left of these rights."""
        return rights.narrowed(self.role, self.scope)

    def holds(self, other: "Narrowing") -> bool:
        """Whether the other one leaves nothing that this one takes away, whatever the rights."""
        return (self.role is None or other.role is self.role) and (
            self.scope is None or (other.scope is not None and self.scope.holds(other.scope))
        )


NO_NARROWING: Final = Narrowing()
