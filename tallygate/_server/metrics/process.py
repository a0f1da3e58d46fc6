"""What is told of the process itself: how late its event loop is, how long the search for garbage stops it."""

import asyncio
import gc
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

from tallygate._server.metrics.families import gauge, seconds
from tallygate._server.metrics.histogram import Histogram

LAG_INTERVAL_S: Final = 0.1
"""Interval at which the event loop is asked to be on time."""

_PROCESS: Final = ProcessCollector(registry=None)


class ProcessWatch:
    """The lag of one event loop, and the pauses of its process; counted inside `watching`."""

    def __init__(self) -> None:
        self.loop_lag = Histogram()
        self.gc_pauses: dict[str, Histogram] = {
            str(generation): Histogram() for generation in range(len(gc.get_threshold()))
        }
        self._began_ns = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Counts inside the block."""
        gc.callbacks.append(self._note_gc)
        lag = asyncio.create_task(self._watch_lag())
        try:
            yield
        finally:
            lag.cancel()
            gc.callbacks.remove(self._note_gc)

    async def _watch_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL_S
            await asyncio.sleep(LAG_INTERVAL_S)
            self.loop_lag.observe(max(0, int((loop.time() - due) * 1e9)))

    def _note_gc(self, phase: str, info: Mapping[str, Any]) -> None:
        if phase == "start":
            self._began_ns = time.perf_counter_ns()
        else:
            self.gc_pauses[str(info["generation"])].observe(time.perf_counter_ns() - self._began_ns)

    def families(self, build: Mapping[str, str]) -> list[Metric]:
        """What is known now; `build` as the first log line says it."""
        labels = {**build, "python": platform.python_version()}
        return [
            gauge("tallygate_build_info", "What runs, as labels; always 1.", {tuple(labels.values()): 1}, *labels),
            seconds("tallygate_loop_lag_seconds", "How late the event loop was, each 100 ms.", self.loop_lag),
            seconds("tallygate_gc_pause_seconds", "Searches for garbage.", self.gc_pauses, "generation"),
            *_PROCESS.collect(),
        ]
