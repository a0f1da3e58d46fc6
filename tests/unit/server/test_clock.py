"""Clocks."""

import time

import pytest

from tallygate._server.clock import Clock, ManualClock, SteadyWallClock, SystemClock


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


def test_the_steady_wall_clock_does_not_jump_ahead() -> None:
    """It passes as measured time does, follows a clock that was set back, and is right again afterwards."""
    manual = ManualClock(now_us=1_000_000)
    steady = SteadyWallClock(manual)
    manual.advance(5)
    assert steady.now_us() == 6_000_000
    manual.jump(us=3_600_000_000)
    assert steady.now_us() == 6_000_000
    manual.jump(us=-3_602_000_000)
    assert steady.now_us() == 4_000_000
