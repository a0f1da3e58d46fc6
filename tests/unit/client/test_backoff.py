"""Waiting before a reconnect."""

from __future__ import annotations

from tallygate.client.backoff import full_jitter_ms


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    """With the largest possible draw the wait is the ceiling itself."""
    waits = [full_jitter_ms(n, base_ms=50, cap_ms=2_000, random=lambda below: below - 1) for n in range(8)]

    assert waits == [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]


def test_any_wait_down_to_none_is_possible() -> None:
    """Full jitter: the draw goes from zero to the ceiling."""
    assert full_jitter_ms(5, base_ms=50, cap_ms=2_000, random=lambda _: 0) == 0


def test_a_long_outage_does_not_overflow() -> None:
    """After a million failures the wait is still the cap."""
    assert full_jitter_ms(1_000_000, base_ms=50, cap_ms=2_000, random=lambda below: below - 1) == 2_000
