"""Shared wakes: timers that need not be exact ring at the same moments."""

import asyncio
from collections.abc import Callable
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate._server.process.shared_wakes import EARLY_MAX, INTERVAL_S, SharedWakesLoop, shift_s

ROUNDING_S = 1e-6
NOW = st.floats(0.0, 1e6)
DELAYS = st.floats(INTERVAL_S, 3_600.0)
INTERVAL_MS = round(INTERVAL_S * 1_000)


def phase_ms(timer: asyncio.TimerHandle) -> int:
    """When it rings, after the last multiple of the interval."""
    return round(timer.when() * 1_000) % INTERVAL_MS


def from_moment_s(due_s: float) -> float:
    """How far a time is from the nearest moment."""
    return abs(due_s - round(due_s / INTERVAL_S) * INTERVAL_S)


@given(now_s=NOW, delay_s=DELAYS)
def test_a_pause_ends_at_a_moment(now_s: float, delay_s: float) -> None:
    """Late by less than the interval, or early by a tenth of its delay at most."""
    shift = shift_s(now_s + delay_s, delay_s, is_late=True)
    assert from_moment_s(now_s + delay_s + shift) < ROUNDING_S
    assert -EARLY_MAX * delay_s - ROUNDING_S <= shift < INTERVAL_S + ROUNDING_S


@given(now_s=NOW, delay_s=DELAYS)
def test_what_may_take_so_long_takes_no_longer(now_s: float, delay_s: float) -> None:
    """It ends at a moment shortly before, or when it is due."""
    shift = shift_s(now_s + delay_s, delay_s, is_late=False)
    assert shift == 0.0 or from_moment_s(now_s + delay_s + shift) < ROUNDING_S
    assert -EARLY_MAX * delay_s - ROUNDING_S <= shift <= 0.0


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("pause_s", [0.1, 0.2, 0.5, 0.9, 2.0])
def test_a_loop_that_works_for_a_while_keeps_its_interval(pause_s: float, is_late: bool) -> None:
    """It sleeps again a little after a moment; it rings once in its pause, not later and later."""
    moment_s, worked_s = 7.0, 0.008
    due_s = moment_s + worked_s + pause_s
    assert due_s + shift_s(due_s, pause_s, is_late=is_late) == pytest.approx(moment_s + pause_s)


def in_one_millisecond(loop: SharedWakesLoop, set_timers: Callable[[float], list[asyncio.TimerHandle]]) -> list[float]:
    """For how long each of these timers runs."""
    while True:
        now_s = loop.time()
        timers = set_timers(now_s)
        if loop.time() == now_s:
            return [timer.when() - now_s for timer in timers]


def test_pauses_of_one_program_end_together() -> None:
    """Those that are slow; quick ones are exact."""
    with closing(SharedWakesLoop()) as loop:
        delays_s = 0.1, 0.25, 1.04, 0.02
        *slow_s, quick_s = in_one_millisecond(loop, lambda _: [loop.call_later(each, str) for each in delays_s])
        assert len({round(each * 1_000) % INTERVAL_MS for each in slow_s}) == 1
        assert quick_s == pytest.approx(0.02)


def test_times_that_are_due_are_as_due_or_with_the_pauses() -> None:
    """The longer of them, of which a tenth is the whole interval."""
    with closing(SharedWakesLoop()) as loop:
        pause_s, short_s, long_s, quick_s = in_one_millisecond(
            loop,
            lambda now_s: [
                loop.call_later(1.0, str),
                *(loop.call_at(now_s + each, str) for each in (0.15, 2.0, 0.02)),
            ],
        )
        assert 0.135 - ROUNDING_S <= short_s <= 0.15 + ROUNDING_S
        assert round((long_s - pause_s) * 1_000) % INTERVAL_MS == 0
        assert quick_s == pytest.approx(0.02)


def test_programs_of_one_machine_wake_apart() -> None:
    """Of twenty some do."""
    phases = set()
    for _ in range(20):
        with closing(SharedWakesLoop()) as loop:
            phases.add(phase_ms(loop.call_later(1.0, str)))
    assert len(phases) > 5


def test_a_time_out_ends_what_waits() -> None:
    """The loop runs what is asyncio's."""

    async def wait() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(INTERVAL_S):
                await asyncio.Event().wait()

    with closing(SharedWakesLoop()) as loop:
        loop.run_until_complete(wait())
