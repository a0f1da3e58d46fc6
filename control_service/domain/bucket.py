"""The rate of a reservation as a bucket: continuous refill, one minute's worth at most, exact in integers.

The level is kept in micro-tokens. A token has 60,000,000 of them: one microsecond at one token per minute adds exactly
one, so no refill is ever rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MICRO_PER_TOKEN: Final = 60_000_000
"""Number of micro-tokens in a token."""

FULL_AFTER_US: Final = 120_000_000
"""Time after which any bucket is full, even from the deepest debt."""

SET_BACK_US: Final = 5_000_000
"""Minimum time that a wall clock must be behind to count as set back; a transaction that waited is less behind."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """One class, input or output, of all the active reservations of one service.

    `rate_tokens_per_minute` is also the burst: the most that can be available and leased at one time.
    `level_micro` is what has accrued and is not leased, as of `updated_us`; it is negative after usage over the leases.
    """

    rate_tokens_per_minute: int
    level_micro: int
    updated_us: int
    leased_units: int
    spent_units: int

    @staticmethod
    def empty(now_us: int) -> Bucket:
        """The bucket of a service without reservations."""
        return Bucket(rate_tokens_per_minute=0, level_micro=0, updated_us=now_us, leased_units=0, spent_units=0)

    @property
    def available_units(self) -> int:
        """Whole tokens that have accrued and are not leased."""
        return self.level_micro // MICRO_PER_TOKEN

    @property
    def grantable_units(self) -> int:
        """All available tokens; 0 in debt."""
        return max(0, self.available_units)

    @property
    def spare_units(self) -> int:
        """All available tokens; 0 in debt: a rate has no floor."""
        return self.grantable_units

    @property
    def full_after_us(self) -> int:
        """Time after which it is full, whatever it has now."""
        return FULL_AFTER_US

    @property
    def brim_micro(self) -> int:
        """The highest that the level may be: the burst, less what is leased."""
        return max(0, self.rate_tokens_per_minute - self.leased_units) * MICRO_PER_TOKEN

    def refilled(self, now_us: int, passed_max_us: int = FULL_AFTER_US) -> Bucket:
        """The bucket with what has accrued until now, in at most `passed_max_us`.

        A clock that went back adds and takes nothing. One that was set back is counted from, so that a bucket which was
        refilled by a clock far ahead does not stop accruing until the other clocks have caught up.
        """
        elapsed_us = min(max(0, now_us - self.updated_us), passed_max_us)
        level = self.level_micro + elapsed_us * self.rate_tokens_per_minute
        updated_us = now_us if now_us < self.updated_us - SET_BACK_US else max(self.updated_us, now_us)
        return replace(self, level_micro=min(level, self.brim_micro), updated_us=updated_us)

    def rated(self, rate_tokens_per_minute: int, *, added_tokens: int = 0) -> Bucket:
        """The bucket with another rate. A reservation that is added brings its own full minute, `added_tokens`."""
        level = self.level_micro + added_tokens * MICRO_PER_TOKEN
        return _levelled(replace(self, rate_tokens_per_minute=rate_tokens_per_minute, level_micro=level))

    def settled(self, *, spent_units: int, released_units: int) -> Bucket:
        """The bucket after units were consumed and units came off lease: the difference goes back, up to the brim.

        Consumption over the lease lowers the level, at most to one minute's debt.
        """
        bucket = replace(
            self,
            level_micro=self.level_micro + (released_units - spent_units) * MICRO_PER_TOKEN,
            leased_units=self.leased_units - released_units,
            spent_units=self.spent_units + spent_units,
        )
        return _levelled(bucket)

    def lent(self, units: int) -> Bucket:
        """The bucket after these units went out on lease."""
        return replace(
            self, level_micro=self.level_micro - units * MICRO_PER_TOKEN, leased_units=self.leased_units + units
        )

    def accrues_after_us(self, units: int) -> int | None:
        """Time until these units are available, in microseconds rounded up; None where they never will be."""
        if units > self.rate_tokens_per_minute:
            return None
        missing_micro = max(0, units * MICRO_PER_TOKEN - self.level_micro)
        return -(-missing_micro // self.rate_tokens_per_minute) if missing_micro else 0


def _levelled(bucket: Bucket) -> Bucket:
    """The bucket with its level between one minute's debt and the brim."""
    deepest_micro = -bucket.rate_tokens_per_minute * MICRO_PER_TOKEN
    return replace(bucket, level_micro=min(max(bucket.level_micro, deepest_micro), bucket.brim_micro))
