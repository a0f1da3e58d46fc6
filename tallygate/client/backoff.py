"""The wait before the next attempt to connect."""

from __future__ import annotations

from collections.abc import Callable


def full_jitter_ms(attempt: int, *, base_ms: int, cap_ms: int, random: Callable[[int], int]) -> int:
    """A wait in 0..min(cap, base * 2^attempt), all equally likely, so that a fleet does not come back in one moment.

    `attempt` counts failures in a row from 0; `random(n)` gives an integer in 0..n-1.
    """
    ceiling_ms = min(cap_ms, base_ms << min(attempt, 20))
    return random(ceiling_ms + 1)
