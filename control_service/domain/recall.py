"""Recalls: what a need that is not met may still get, and from which nodes free units are called back for it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from control_service.domain.lease import Lease


class Availability(enum.StrEnum):
    """What a pot has for a lease whose node asked for more."""

    AVAILABLE = "AVAILABLE"
    RECALLING = "RECALLING"
    EMPTY = "EMPTY"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What may still come for a lease after a grant, and which other leases are to be recalled for it now.

    `returns_after_us`: of slots that silent nodes have, see `slot_return`.
    """

    availability: Availability
    recalled_lease_ids: tuple[str, ...] = ()
    returns_after_us: int | None = None


def judge_shortfall(lease: Lease, needed_units: int, recallable: Iterable[Lease]) -> Shortfall:
    """Judges a lease that may fall short of its need.

    Args:
        lease: the lease after its grant.
        needed_units: what requests on its node wait for.
        recallable: open leases on the same pot whose free units may come back; the lease itself is passed over.
    """
    if lease.free_units >= needed_units:
        return Shortfall(Availability.AVAILABLE)
    recallable = [other for other in recallable if other.lease_id != lease.lease_id]
    if not recallable:
        return Shortfall(Availability.EMPTY)
    fresh = tuple(other.lease_id for other in recallable if other.recall_requested_us is None)
    return Shortfall(Availability.RECALLING, fresh)
