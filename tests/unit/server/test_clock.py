"""Clocks."""

import time

import pytest

from tallygate._server.clock import Clock, ManualClock, SystemClock


def test_manual_clock_moves_both_clocks_together() -> None:
    """Advancing by seconds and microseconds moves the wall clock and the monotonic clock by the same time."""
    clock: Clock = (manual := ManualClock(now_us=5, monotonic_ns=7))
    assert (clock.now_us(), clock.monotonic_ns()) == (5, 7)
    manual.advance(2, us=3)
    assert (clock.now_us(), clock.monotonic_ns()) == (2_000_008, 2_000_003_007)


def test_manual_clock_does_not_go_back() -> None:
    """A negative step is a mistake of the test and is said so."""
    with pytest.raises(ValueError, match="does not go back"):
        ManualClock().advance(us=-1)


def test_system_clock_tells_the_time() -> None:
    """The wall clock counts microseconds since 1970 and the monotonic clock never goes back."""
    clock: Clock = SystemClock()
    assert abs(clock.now_us() - time.time_ns() // 1_000) < 60_000_000
    assert clock.monotonic_ns() <= clock.monotonic_ns()
