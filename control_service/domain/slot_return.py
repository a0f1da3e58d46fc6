"""Slots on lease: when the first of them can come back, where silent nodes have them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

LEAST_US: Final = 1_000_000
"""Minimum time that is said: what may come at any moment is asked for so often."""


class SlotsOnLease(NamedTuple):
    """The slots of one lease, and the time until they can come back at the earliest; None: at any moment."""

    units: int
    after_us: int | None


def first_return_us(available_units: int, on_lease: Iterable[SlotsOnLease]) -> int | None:
    """The time until a request finds a slot at the earliest; None where that may be at any moment, or never is.

    Args:
        available_units: slots on no lease; below zero where a limit was lowered.
        on_lease: all others.
    """
    in_order = sorted(on_lease, key=lambda lease: -1 if lease.after_us is None else lease.after_us)
    for units, after_us in in_order if available_units <= 0 else ():
        available_units += units
        if available_units > 0:
            return None if after_us is None else max(LEAST_US, after_us)
    return None
