"""Bindings: one role for one member on one scope."""

from dataclasses import dataclass

from control_service.domain.names import binding_name
from tallygate._access.rights import Right
from tallygate._access.role import Role
from tallygate._access.scope import Scope


@dataclass(frozen=True, slots=True)
class Grant:
    """What a binding says: who has which role where. Two bindings never say the same."""

    scope: Scope
    member: str
    role: Role
    node_names: tuple[str, ...] = ()

    @property
    def right(self) -> Right:
        """What the member may do by it."""
        return Right(self.role, self.scope, self.node_names)


@dataclass(frozen=True, slots=True)
class Binding:
    """A role as it was given: by whom and when."""

    binding_id: str
    grant: Grant
    creator: str
    create_us: int

    @property
    def name(self) -> str:
        """Its resource name."""
        return binding_name(self.grant.scope, self.binding_id)
