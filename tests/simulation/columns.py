"""Columns as a simulated server speaks them on a stream: some requests have a handle, and some progress goes by it."""

import random
from dataclasses import dataclass, field

from tallygate.metering.v1 import columns_pb2, metering_service_pb2, report_pb2
from tests.simulation.jobs import FINISH, PROGRESS, Job

BOUND_SHARE = 0.7
COLUMNS_SHARE = 0.7


@dataclass
class Columns:
    """`luck`: the server's own, so that what else it does stays what it was."""

    luck: random.Random
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

    def entry(self, job: Job, phase: int, sequence: int, answered: int) -> metering_service_pb2.MeterRequest | None:
        """A message that says progress in columns; None where that is said by a report."""
        handle = self.handles.get(job.request_id)
        if phase != PROGRESS or handle is None or self.bound_by[job.request_id] > answered or job.manner.estimates:
            return None
        if self.luck.random() > COLUMNS_SHARE:
            return None
        said = job.said(phase)
        job.reported = job.reported.at_least(said)
        self.said[sequence] = job
        columns = columns_pb2.ProgressColumns(handles=[handle], output_tokens=[said.output_tokens])
        return metering_service_pb2.MeterRequest(first_sequence=sequence, columns=columns)

    def granted(self, message: metering_service_pb2.MeterResponse) -> list[tuple[Job, int, bytes]]:
        """What a message says of raised grants: each request, its ceiling and its token."""
        self.handles_max = self.handles_max or message.columns_handles_max
        grants = message.grants
        numbers = zip(grants.sequences, grants.output_ceiling_tokens, grants.resume, strict=True)
        raised = [(self.said[sequence], ceiling, token) for sequence, ceiling, token in numbers]
        self.said = {number: job for number, job in self.said.items() if number > message.answered_through}
        return raised
