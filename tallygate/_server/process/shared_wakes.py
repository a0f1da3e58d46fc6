"""An event loop whose slow timers ring together, so that a program at rest wakes seldom.

With nothing else to do a wake takes some 0.1 ms of processor before anything is done: what it needs has left the caches
since the last one. Loops that each sleep for a while of their own wake a program as often as all of them together;
where they ring at the same moments, all but the first find everything at hand.
"""

import asyncio
import math
import random
from collections.abc import Callable
from contextvars import Context
from typing import Final, TypeVarTuple

import uvloop
from typing_extensions import override

INTERVAL_S: Final = 0.1
"""Interval of the moments at which they ring, and minimum delay of such a timer; shorter ones ring when due."""
EARLY_MAX: Final = 0.1
"""Maximum by which a timer rings early, as a share of its delay.

A loop that takes a little while for its work, and then sleeps, sleeps until the next moment but for that while.
"""

Arguments = TypeVarTuple("Arguments")


class SharedWakesLoop(uvloop.Loop):
    """As uvloop's. Programs of one machine have different moments, or all of them would wake at once."""

    def __init__(self) -> None:
        super().__init__()
        self._offset_s = random.randrange(int(INTERVAL_S * 1_000)) / 1_000  # noqa: S311  # no secret

    @override
    def call_later(
        self,
        delay: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """For pauses: it rings early, or else late, by less than the interval."""
        if delay >= INTERVAL_S:
            due_s = self.time() + delay - self._offset_s
            delay += shift_s(due_s, delay, is_late=True)
        return super().call_later(delay, callback, *args, context=context)

    @override
    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """For ends of what may take so long: it rings early, or on time."""
        delay_s = when - self.time()
        if delay_s >= INTERVAL_S:
            delay_s += shift_s(when - self._offset_s, delay_s, is_late=False)
        return super().call_later(delay_s, callback, *args, context=context)


def shift_s(due_s: float, delay_s: float, *, is_late: bool) -> float:
    """What is added to a timer that is due then, after that delay, so that it rings at a multiple of the interval.

    `is_late`: what may not be early is late; else it rings when it is due.
    """
    early_s = math.fmod(due_s, INTERVAL_S)
    if early_s <= EARLY_MAX * delay_s:
        return -early_s
    return INTERVAL_S - early_s if is_late else 0.0
