"""An event loop on simulated time: one thread, no input or output, the same order every time.

Every callback belongs to a party, one process of the simulated fleet. A party can be paused, as by SIGSTOP, and
crashed: what it would have done next is then never done.
"""

import asyncio
import heapq
import itertools
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")
TimerEntry = tuple[float, int, asyncio.TimerHandle]


class Stuck(AssertionError):  # noqa: N818  # what it is
    """Everybody waits, and nothing will ever happen."""


class Party:
    """One process: everything that it runs, so that it can be stopped as a whole."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.paused = False
        self.dead = False
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.parked: deque[asyncio.Handle] = deque()

    def check(self) -> None:
        """For all that reaches out of the process: what has crashed reaches nobody."""
        if self.dead:
            raise asyncio.CancelledError

    def __repr__(self) -> str:
        return self.name


START_US = 1_700_000_000_000_000
PARTY: ContextVar[Party | None] = ContextVar("PARTY", default=None)


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Runs what is ready in the order in which it became so; when nothing is, time jumps to the next timer."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.start_us = START_US
        """The right time at the beginning, in microseconds since 1970."""
        self.steps = 0
        self.failures: list[dict[str, Any]] = []
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[TimerEntry] = []
        self._numbers = itertools.count()
        self._closed = False
        self._parties: dict[Party, None] = {}
        self._tasks: dict[asyncio.Task[Any], None] = {}

    # --- what a simulation does with it ----------------------------------------------------------------------------

    def run_until_complete(self, future: Coroutine[Any, Any, T]) -> T:  # type: ignore[override]  # nobody gives it a future
        """Run until the future is done; its result. Raises Stuck where it never will be."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self._finish_generator)
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(future)
            while not task.done():
                self._step()
            result: T = task.result()
            return result
        finally:
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def spawn(self, party: Party, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something as a part of a process."""
        self._parties[party] = None
        context = copy_context()
        context.run(PARTY.set, party)
        return self.create_task(coroutine, context=context)

    def pause(self, party: Party) -> None:
        """SIGSTOP."""
        party.paused = True

    def wake(self, party: Party) -> None:
        """SIGCONT: what was due meanwhile happens now, in order."""
        party.paused = False
        self._ready.extend(party.parked)
        party.parked.clear()

    def crash(self, party: Party) -> None:
        """SIGKILL. Its tasks are cancelled, so that they do not linger; nothing that they still do has any effect."""
        party.dead = True
        self.wake(party)
        for task in list(party.tasks):
            task.cancel()

    def put_away(self) -> None:
        """The simulation is over: everything that still runs ends, without effect."""
        self._closed = True
        asyncio._set_running_loop(self)
        try:
            for party in list(self._parties):
                self.crash(party)
            for task in list(self._tasks):
                task.cancel()
            while self._ready:
                self._step()
        finally:
            asyncio._set_running_loop(None)
            self._timers.clear()

    def _step(self) -> None:
        self.steps += 1
        if not self._ready:
            if not self._timers:
                raise Stuck("nothing is ready, and no timer runs")
            when, _, timer = heapq.heappop(self._timers)
            self.now_s = max(self.now_s, when)
            if not timer.cancelled():
                self._ready.append(timer)
            return
        handle = self._ready.popleft()
        if handle.cancelled():
            return
        party = handle._context.get(PARTY)  # type: ignore[attr-defined]  # the handle's context is its owner's
        if party is not None and party.paused:
            party.parked.append(handle)
            return
        handle._run()

    def _finish_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self._closed:
            self.call_soon(lambda: self.create_task(generator.aclose()))

    # --- what asyncio wants of a loop --------------------------------------------------------------------------------

    def time(self) -> float:
        return self.now_s

    def call_soon(  # type: ignore[override]  # any callback will do
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now_s + max(0.0, delay), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """The heap drops it when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: Any
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        party = (context or copy_context()).get(PARTY)
        if party is not None:
            party.tasks[task] = None
            task.add_done_callback(lambda done: party.tasks.pop(done, None))
            if party.dead:
                task.cancel()
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Kept, so that a simulation can fail for it."""
        self.failures.append(context)
