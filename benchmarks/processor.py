"""Processor time and memory of a program and its children, and of this process."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds of processor time so far, at a moment; resident bytes."""

    at_s: float
    own_s: float
    server_s: float
    server_rss_bytes: int


class Meter:
    """Reads both sides at once."""

    def __init__(self, server_pids: Sequence[int]) -> None:
        self._own = psutil.Process()
        self._servers = [psutil.Process(pid) for pid in server_pids]

    def read(self) -> Reading:
        """How things stand."""
        seconds, rss = 0.0, 0
        children = [child for server in self._servers for child in server.children(recursive=True)]
        for process in self._servers + children:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds += times.user + times.system
                rss += process.memory_info().rss
        own = self._own.cpu_times()
        return Reading(time.perf_counter(), own.user + own.system, seconds, rss)
