"""The pot of a rate rule: continuous refill, an explicit burst, exact in integers.

It is the generic cell rate algorithm (ITU-T I.371, annex A) as a bucket: there are no windows, so a window's edge is
nowhere, and no burst comes twice. The level is kept in parts of a unit, as many as the period has milliseconds: one
millisecond at one unit a period adds exactly one part, so no refill is ever rounded, and a day's burst of 10^11 units
fits into 64 bits.

A unit is spent the moment a request holds it, and accrues again from then on, so that long streams throttle nobody.
What was held and not used comes back, up to the brim. So of a rate what is on lease is what no request holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from control_service.domain.bucket import SET_BACK_US

US_PER_MS: Final = 1_000
"""Number of microseconds in a millisecond."""

LEASED_AHEAD_MS: Final = 2_000
"""Maximum time whose accrual a node may have on lease ahead of need."""


@dataclass(frozen=True, slots=True)
class RatePot:
    """What a rate rule has accrued for one account, or one member of its place.

    `period_ms` is the period in milliseconds. `level_parts` is what has accrued and is not leased, as of `updated_us`;
    it is negative after usage over the leases, at most by one burst. `leased_units` are on lease and held by no
    request. `spent_units` counts on, and is no part of any capacity. `only_counts`: of a rule in dry run, which refuses
    nothing and so makes no debts.
    """

    limit_units: int
    period_ms: int
    burst_units: int
    level_parts: int
    updated_us: int
    leased_units: int = 0
    spent_units: int = 0
    only_counts: bool = False

    @staticmethod
    def full(limit_units: int, period_ms: int, burst_units: int, now_us: int) -> RatePot:
        """The pot of a rule that has just been made: a full burst."""
        return RatePot(limit_units, period_ms, burst_units, burst_units * period_ms, now_us)

    @property
    def available_units(self) -> int:
        """Whole units that have accrued and are not leased; below zero in debt."""
        return self.level_parts // self.period_ms

    @property
    def grantable_units(self) -> int:
        """All available units; 0 in debt."""
        return max(0, self.available_units)

    @property
    def spare_units(self) -> int:
        """Units that may be leased ahead of need: what accrues in `LEASED_AHEAD_MS`, less what is on lease."""
        ahead_units = self.limit_units * LEASED_AHEAD_MS // self.period_ms
        return max(0, min(self.grantable_units, ahead_units - self.leased_units))

    @property
    def brim_parts(self) -> int:
        """The highest that the level may be: the burst, less what is leased and held by no request."""
        return max(0, self.burst_units - self.leased_units) * self.period_ms

    def refilled(self, now_us: int, passed_max_us: int | None = None) -> RatePot:
        """The pot with what has accrued until now, in at most `passed_max_us`.

        A clock that went back adds and takes nothing; one that was set back is counted from (see `Bucket`).
        """
        elapsed_ms = max(0, now_us // US_PER_MS - self.updated_us // US_PER_MS)
        if passed_max_us is not None:
            elapsed_ms = min(elapsed_ms, passed_max_us // US_PER_MS)
        level = self.level_parts + elapsed_ms * self.limit_units
        updated_us = now_us if now_us < self.updated_us - SET_BACK_US else max(self.updated_us, now_us)
        return replace(self, level_parts=min(level, self.brim_parts), updated_us=updated_us)

    def ruled(self, limit_units: int, period_ms: int, burst_units: int, *, only_counts: bool = False) -> RatePot:
        """The pot under a rule that was changed: what it has stays, up to the brim; a dry run keeps its level so."""
        changed = replace(
            self,
            limit_units=limit_units,
            period_ms=period_ms,
            burst_units=burst_units,
            level_parts=self.level_parts * period_ms // self.period_ms,
            only_counts=only_counts,
        )
        return self if changed == self else _levelled(changed)

    def settled(self, *, spent_units: int, released_units: int, refunded_units: int = 0) -> RatePot:
        """The pot after units were held, came off lease, or came back to a lease from requests that had held them.

        Args:
            spent_units: newly held by requests.
            released_units: less on lease than before: held, returned or, below zero, refunded to the lease.
            refunded_units: held once, not used, and on the lease again; they count against the brim there.
        """
        pot = replace(
            self,
            level_parts=self.level_parts + (released_units - spent_units + refunded_units) * self.period_ms,
            leased_units=self.leased_units - released_units,
            spent_units=self.spent_units + spent_units - refunded_units,
        )
        return _levelled(pot)

    def lent(self, units: int) -> RatePot:
        """The pot after these units went out on lease."""
        return replace(
            self, level_parts=self.level_parts - units * self.period_ms, leased_units=self.leased_units + units
        )

    def forfeited(self, units: int) -> RatePot:
        """The pot after a node was lost with these units on lease: they are gone, and accrue again as any."""
        return replace(self, leased_units=self.leased_units - units)

    def accrues_after_us(self, units: int) -> int | None:
        """Time until these units are available, in microseconds rounded up; None where they never will be."""
        if units > self.burst_units or not self.limit_units:
            return None
        missing_parts = max(0, units * self.period_ms - self.level_parts)
        return -(-missing_parts // self.limit_units) * US_PER_MS

    @property
    def full_after_us(self) -> int:
        """Time after which the pot is full, whatever its level is now and whatever comes off lease."""
        deepest_parts = 2 * self.burst_units * self.period_ms
        return -(-deepest_parts // self.limit_units) * US_PER_MS if self.limit_units else 0


def _levelled(pot: RatePot) -> RatePot:
    """The pot with its level between one burst's debt, or none of a dry run, and the brim."""
    deepest_parts = 0 if pot.only_counts else -pot.burst_units * pot.period_ms
    return replace(pot, level_parts=min(max(pot.level_parts, deepest_parts), pot.brim_parts))
