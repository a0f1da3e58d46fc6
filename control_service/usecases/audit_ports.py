"""Ports of the audit log: what use cases need of a transaction besides `ports`."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from control_service.domain.audit_entry import AuditEntry, AuditOutcome
from tallygate._access.rights import SEES_ALL, Sight


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """The entries to list; None for any. Only what `sight` shows.

    `resource`: of this resource, or of one within it. From `start_us`, before `end_us`.
    """

    sight: Sight = SEES_ALL
    account_id: str | None = None
    principal: str | None = None
    resource: str | None = None
    method: str | None = None
    outcome: AuditOutcome | None = None
    start_us: int | None = None
    end_us: int | None = None


class AuditEntries(Protocol):
    """The audit log."""

    async def add(self, entry: AuditEntry) -> None:
        """Stores a new entry."""

    async def count(self, entries: Collection[AuditEntry]) -> None:
        """Stores entries of refusals. One that is stored keeps all that it says, and takes the greater count."""

    async def page(self, wanted: AuditFilter, before: tuple[int, str], limit: int) -> list[AuditEntry]:
        """Entries whose (time, id) is less than `before`, the newest first."""

    async def delete(self, before_us: int, limit: int) -> int:
        """Deletes entries of before this moment, the oldest first, at most `limit`.

        Returns:
            How many were deleted.
        """
