"""Processor time and memory of a program and its children, and of this process."""

import contextlib
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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


def processor_s(pid: int) -> float:
    """Seconds of processor that a program's threads have taken so far, to the nanosecond."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system
    used_ns = 0
    for task in tasks:
        with contextlib.suppress(OSError):
            used_ns += int((task / "schedstat").read_text().split()[0])
    return used_ns / 1e9


def written_bytes(pid: int) -> int:
    """Bytes that a program has had written to disks so far."""
    return int(psutil.Process(pid).io_counters().write_bytes)


def peak_bytes(pid: int) -> int:
    """The greatest resident memory that a program has had so far; where the system does not say it, what it has now."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return int(psutil.Process(pid).memory_info().rss)
    return next(int(line.split()[1]) * 1_024 for line in lines if line.startswith("VmHWM"))


def children_s() -> float:
    """Seconds of processor of all programs that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
