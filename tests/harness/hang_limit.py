"""A test that hangs fails, with the places where it waits; the run goes on.

Each phase of a test has the limit for itself, and the alarm rings only inside a phase, where pytest makes a failure of
whatever is raised. An alarm that rang while pytest formats a report would end the whole run.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

HANG_LIMIT_S = 300.0
"""Limit of a phase. No wait for a condition is so long, and no test on a machine that is busy with other things."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"hang_limit(seconds): fail after this long instead of {HANG_LIMIT_S:.0f} s")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    with _limited(item, "setup"):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    with _limited(item, "call"):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    with _limited(item, "teardown"):
        return (yield)


def pytest_enter_pdb() -> None:
    """Nobody debugs against the clock."""
    signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _limited(item: pytest.Item, phase: str) -> Iterator[None]:
    marker = item.get_closest_marker("hang_limit")
    limit_s = float(marker.args[0]) if marker is not None else HANG_LIMIT_S
    failure = f"The {phase} of this test had not ended after {limit_s:g} s."
    has_rung = False

    def ring(_signal: int, _frame: FrameType | None) -> None:
        __tracebackhide__ = True
        nonlocal has_rung
        has_rung = True
        item.add_report_section(phase, "where it waits", _whereabouts())
        pytest.fail(failure)

    before = signal.signal(signal.SIGALRM, ring)
    # Again and again: a background task that happens to run when the alarm rings would swallow what is raised.
    signal.setitimer(signal.ITIMER_REAL, limit_s, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if has_rung:
        pytest.fail(failure)


def _whereabouts() -> str:
    """The stacks of all asyncio tasks, down to what each awaits, and of other threads: this one's is in the report."""
    lines = []
    for task in _tasks():
        lines += [f"Task {task.get_name()}:\n", *traceback.StackSummary.extract(_awaited(task.get_coro())).format()]
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            lines += [f"Thread {names.get(ident, ident)}:\n", *traceback.format_stack(frame)]
    return "".join(lines)


def _tasks() -> set[asyncio.Task[Any]]:
    try:
        return asyncio.all_tasks()
    except RuntimeError:  # no loop runs here
        return set()


def _awaited(at: Any) -> Iterator[tuple[FrameType, int]]:
    while at is not None:
        frame = getattr(at, "cr_frame", None) or getattr(at, "gi_frame", None) or getattr(at, "ag_frame", None)
        if frame is None:
            return
        yield frame, frame.f_lineno
        at = getattr(at, "cr_await", None) or getattr(at, "gi_yieldfrom", None) or getattr(at, "ag_await", None)
