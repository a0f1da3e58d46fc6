"""Workloads: what requests come when, and how many tokens of which kind each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from metering_service.domain.counts import Counts
from tallygate.replay.trace import Trace

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
DEFAULT_START_US = 1_767_225_600 * SECOND_US
"""Moment at which a workload begins that does not say when: the first of January 2026, so that periods are the same."""
DATES_BEGIN_US = 365 * DAY_US
"""Moment before which a trace's times have no dates: these were taken away. Periods would begin before 1970."""


class Job(NamedTuple):
    """One request. `source`: the model, the kind or the service that it was for, by which it is served."""

    offset_us: int
    source: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in order of time, and when the first of them comes, in microseconds since 1970."""

    jobs: Sequence[Job]
    start_us: int = DEFAULT_START_US

    @property
    def length_us(self) -> int:
        """Time from the first request to the last."""
        return self.jobs[-1].offset_us if self.jobs else 0

    @property
    def sources(self) -> list[str]:
        """All sources, in order of their first request."""
        return list(dict.fromkeys(job.source for job in self.jobs))


def of_traces(traces: Sequence[tuple[Path, Trace]]) -> Workload:
    """Traces side by side. A request that its trace names no source for has the file's name, up to its first dot.

    Traces that say the time of the day keep it between them; others begin with the first. Where the dates were taken
    away, it is the time of that day which is the default.
    """
    starts = [trace.start_us for _, trace in traces if trace.start_us is not None]
    start_us = min(starts, default=DEFAULT_START_US)
    jobs = [
        Job(
            row.offset_us + (start_us if trace.start_us is None else trace.start_us) - start_us,
            row.source or path.name.partition(".")[0],
            Counts(input=row.context_tokens, output=row.generated_tokens),
        )
        for path, trace in traces
        for row in trace.rows()
    ]
    jobs.sort(key=lambda job: job.offset_us)
    return Workload(jobs, start_us if start_us >= DATES_BEGIN_US else DEFAULT_START_US + start_us % DAY_US)
