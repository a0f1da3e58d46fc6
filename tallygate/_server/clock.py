"""Time as it is passed to everything that needs it, so that tests can move it."""

import time
from typing import Final, Protocol

US_PER_SECOND: Final = 1_000_000
NS_PER_US: Final = 1_000


class Clock(Protocol):
    """Two clocks that are never mixed: one to tell the time, one to measure it."""

    def now_us(self) -> int:
        """Wall clock, UTC, in microseconds since 1970. It may jump, also backwards."""
        ...

    def monotonic_ns(self) -> int:
        """Monotonic clock in nanoseconds since some moment. It never goes backwards."""
        ...


class SystemClock:
    """The clocks of this machine."""

    def now_us(self) -> int:
        """The wall clock of this machine, in microseconds since 1970."""
        return time.time_ns() // NS_PER_US

    # As it is: decisions ask for it often, and a method around it takes longer than the question.
    monotonic_ns = staticmethod(time.monotonic_ns)


class SteadyWallClock:
    """The wall clock for what must never happen too early: where it jumped ahead, it is behind until it is set back.

    It does not run ahead of the time that has passed since it was made.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_us = clock.now_us()
        self._start_ns = clock.monotonic_ns()

    def now_us(self) -> int:
        """As `Clock.now_us`, but never later than the start and the time that has passed since then."""
        elapsed_us = (self._clock.monotonic_ns() - self._start_ns) // NS_PER_US
        return min(self._clock.now_us(), self._start_us + elapsed_us)


class ManualClock:
    """Clocks that stand still until somebody moves them."""

    def __init__(self, now_us: int = 1_700_000_000 * US_PER_SECOND, monotonic_ns: int = 0) -> None:
        self._now_us = now_us
        self._monotonic_ns = monotonic_ns

    def now_us(self) -> int:
        """The wall clock as it was set, in microseconds since 1970."""
        return self._now_us

    def monotonic_ns(self) -> int:
        """The monotonic clock as it was advanced, in nanoseconds."""
        return self._monotonic_ns

    def advance(self, seconds: int = 0, *, us: int = 0) -> None:
        """Move both clocks forward.

        Raises:
            ValueError: the step is negative.
        """
        step_us = seconds * US_PER_SECOND + us
        if step_us < 0:
            msg = f"a clock does not go back: {step_us} us"
            raise ValueError(msg)
        self._now_us += step_us
        self._monotonic_ns += step_us * NS_PER_US

    def jump(self, *, us: int) -> None:
        """Set the wall clock by so much, also back; the monotonic one is not moved by that."""
        self._now_us += us
