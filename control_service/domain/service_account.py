"""Service accounts: programs that call, made in a scope, with bindings on that scope or within it."""

from dataclasses import dataclass

from control_service.domain.member import service_account_member
from control_service.domain.names import service_account_name
from tallygate._access.scope import Scope


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account; `delete_us` is the tombstone of a name that is never used again."""

    scope: Scope
    service_account_id: str
    display_name: str
    creator: str
    create_us: int
    delete_us: int | None = None

    @property
    def name(self) -> str:
        """Its resource name."""
        return service_account_name(self.scope, self.service_account_id)

    @property
    def member(self) -> str:
        """The member that bindings give roles to."""
        return service_account_member(self.name)
