"""Columns as a simulated server speaks them on a stream: some requests have a handle, and some progress goes by it.

In one seed of eight, of which no other planted bug's story is told, entries go together: those of all requests that
have a handle, and some that nobody expects. There some requests end by another stream first, and their handles, which
nobody has unbound, are spoken of once more.
"""

import random
from dataclasses import dataclass, field

from tallygate.metering.v1 import columns_pb2, metering_service_pb2, report_pb2
from tests.simulation.jobs import FINISH, PROGRESS, Job, Said

BOUND_SHARE = 0.7
COLUMNS_SHARE = 0.7
STRANGE_SHARE = 0.3
REPEATED_MAX = 20
TOGETHER_IN = 8
STRANGER = Job("r0", "", 0, 0, 0)
"""Stands for whom an entry is about whose handle is not bound."""


def go_together(seed: int) -> bool:
    """Whether entries do in a seed."""
    return seed % TOGETHER_IN == 0


@dataclass
class Columns:
    """`luck`: the server's own, so that what else it does stays what it was. `together`: see `go_together`."""

    luck: random.Random
    together: bool = False
    handles_max: int = 0
    handles: dict[str, int] = field(default_factory=dict)
    bound_by: dict[str, int] = field(default_factory=dict)
    """The number of the report that binds each request."""
    free: list[int] = field(default_factory=list)
    said: dict[int, Job] = field(default_factory=dict)
    """Of entries that may be answered."""

    def put_on(self, report: report_pb2.TokenReport, sequence: int) -> None:
        """Bind the request of a report, or take its handle back with its end: the next one has that at once."""
        request_id = report.request_id
        if report.phase == FINISH:
            if request_id in self.handles:
                self.free.append(self.handles.pop(request_id))
        elif self.handles_max and request_id not in self.handles and self.luck.random() < BOUND_SHARE:
            handle = self.free.pop() if self.free else len(self.handles) + 1
            self.handles[request_id] = report.handle = handle
            self.bound_by[request_id] = sequence

    def entries(
        self, job: Job, phase: int, sequence: int, answered: int, jobs: dict[str, Job]
    ) -> tuple[metering_service_pb2.MeterRequest, list[tuple[Job, Said]]] | None:
        """A message that says progress in columns, and what its entries say; None where that goes by a report.

        `jobs`: the server's, by id.
        """
        if phase != PROGRESS or not self._speaks_of(job, answered):
            return None
        if not job.finished and self.luck.random() > COLUMNS_SHARE:
            return None
        by_handle = {self.handles[job.request_id]: job}
        columns = columns_pb2.ProgressColumns()
        if self.together:
            others = (jobs[request_id] for request_id in self.handles if request_id in jobs)
            by_handle |= {self.handles[each.request_id]: each for each in others if self._is_spoken_of(each, answered)}
        strange = self.free[-1] if self.together and self.free and self.luck.random() < STRANGE_SHARE else None
        said: list[tuple[Job, Said]] = []
        for handle in sorted({*by_handle, *([] if strange is None else [strange])}):
            its = by_handle.get(handle, STRANGER)
            counts = self._repeated(its) if its.finished else its.said(PROGRESS)
            its.reported = its.reported.at_least(counts)
            self.said[sequence + len(said)] = its
            columns.handles.append(handle)
            columns.output_tokens.append(counts.output_tokens)
            said.append((its, counts))
        return metering_service_pb2.MeterRequest(first_sequence=sequence, columns=columns), said

    def _speaks_of(self, job: Job, answered: int) -> bool:
        """Whether the handle of a request is good for entries."""
        is_bound = job.request_id in self.handles and self.bound_by[job.request_id] <= answered
        return is_bound and not job.manner.estimates

    def _repeated(self, job: Job) -> Said:
        """What was said of a request when it had begun."""
        return Said(job.input_tokens, min(job.output_tokens, self.luck.randint(1, REPEATED_MAX)))

    def _is_spoken_of(self, job: Job, answered: int) -> bool:
        """The same of a request that has nothing to say of itself now."""
        return job.begun and not (job.finished or job.whole or job.silent) and self._speaks_of(job, answered)

    def ends_apart(self, job: Job) -> bool:
        """Whether a request ends by another stream before it does by this one, which goes on to speak of it."""
        return self.together and job.request_id in self.handles and job.number % 2 == 0

    def granted(self, message: metering_service_pb2.MeterResponse) -> list[tuple[Job, int, bytes]]:
        """What a message says of raised grants: each request, its ceiling and its token."""
        self.handles_max = self.handles_max or message.columns_handles_max
        grants = message.grants
        numbers = zip(grants.sequences, grants.output_ceiling_tokens, grants.resume, strict=True)
        raised = [(self.said[sequence], ceiling, token) for sequence, ceiling, token in numbers]
        self.said = {number: job for number, job in self.said.items() if number > message.answered_through}
        return raised
