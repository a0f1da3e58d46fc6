"""Several settings against one workload, in as many processes as pay."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager

import structlog

from tallygate.whatif.memory.database import MemoryDatabase
from tallygate.whatif.outcome import Outcome
from tallygate.whatif.run import what_if
from tallygate.whatif.settings import Settings
from tallygate.whatif.workload import Workload

ALONE_BELOW = 2_000
"""Number of requests below which another process takes longer to start than it saves."""


def compare(
    workload: Workload, several: Sequence[Settings], is_done: Callable[[str], None] = lambda _: None
) -> list[Outcome]:
    """What would have come of the workload under each of the settings. `is_done` is told of each by its name.

    Raises SettingsError where settings are refused, or do not serve a source of the workload, before anything is run.
    """
    for settings in several:
        for source in workload.sources:
            settings.service_of(source)
        _run(Workload((), workload.start_us), settings)
    processes = min(len(several), os.cpu_count() or 1)
    if processes == 1 or len(workload.jobs) < ALONE_BELOW:
        outcomes = []
        for settings in several:
            outcomes.append(_run(workload, settings))
            is_done(settings.name)
        return outcomes
    # What has most to be worked out comes first, so that no long run is begun last.
    order = sorted(range(len(several)), key=lambda place: len(several[place].calls), reverse=True)
    # Not forked: what this process has of threads and connections is none of theirs.
    spawn = multiprocessing.get_context("spawn")
    # Ctrl-C ends them: by default it ends only what each is at, and they go on with the next settings.
    with ProcessPoolExecutor(processes, spawn, signal.signal, (signal.SIGINT, signal.SIG_DFL)) as pool:
        runs = {pool.submit(_run, workload, several[place]): place for place in order}
        for run in as_completed(runs):
            run.result()
            is_done(several[runs[run]].name)
        return [run.result() for run in sorted(runs, key=runs.__getitem__)]


def _run(workload: Workload, settings: Settings) -> Outcome:
    with _quiet():
        return asyncio.run(what_if(workload, settings, MemoryDatabase()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Has the services log nothing but what is wrong, and not to where results go."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)
