"""The survey of a node's leases: how many there are and what is in them, in small steps between decisions."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from metering_service.domain.pot import PotKind
from metering_service.usecases.state.lease_holder import LeaseIndex

STEP: Final = 500
"""Number of holders whose leases are looked at in one go, some 0.4 ms; then decisions have a turn."""


def _no_units() -> Counter[PotKind]:
    return Counter(dict.fromkeys(PotKind, 0))


@dataclass(frozen=True, slots=True)
class LeaseSums:
    """Sums over all leases of each kind."""

    number: Counter[PotKind] = field(default_factory=_no_units)
    held_units: Counter[PotKind] = field(default_factory=_no_units)
    free_units: Counter[PotKind] = field(default_factory=_no_units)
    """Less than zero is a debt."""


NO_LEASES: Final = LeaseSums()


async def survey_leases(index: LeaseIndex) -> LeaseSums:
    """All leases that there are when it begins, as each is when its turn comes."""
    sums, holders = LeaseSums(), list(index.holders.values())
    for begin in range(0, len(holders), STEP):
        leases = [lease for holder in holders[begin : begin + STEP] for lease in holder.all_leases()]
        for kind in {lease.kind for lease in leases}:
            of_kind = [lease for lease in leases if lease.kind is kind]
            sums.number[kind] += len(of_kind)
            sums.held_units[kind] += sum(lease.held for lease in of_kind)
            sums.free_units[kind] += sum(lease.free for lease in of_kind)
        await asyncio.sleep(0)
    return sums
