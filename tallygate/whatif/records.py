"""Workloads out of what is on record: each booked part of a request, as its server counted it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.timestamp_pb2 import Timestamp

from metering_service.domain.counts import Counts
from tallygate.metering.v1 import request_usage_pb2
from tallygate.whatif.workload import SECOND_US, Job, Workload


def of_records(records: Iterable[request_usage_pb2.RequestUsage], start_us: int, end_us: int) -> Workload:
    """The requests that began from `start_us` on and before `end_us`, and are settled. Sources are ids of services.

    What was denied is not on record, and so not in it. Of a request that moved each part stands for itself.
    """
    jobs = [
        Job(moment_us - start_us, record.service.rpartition("/")[2], counts)
        for record, moment_us, counts in _settled(records)
        if start_us <= moment_us < end_us
    ]
    jobs.sort(key=lambda job: job.offset_us)
    first_us = jobs[0].offset_us if jobs else 0
    return Workload([job._replace(offset_us=job.offset_us - first_us) for job in jobs], start_us + first_us)


def _settled(
    records: Iterable[request_usage_pb2.RequestUsage],
) -> Iterator[tuple[request_usage_pb2.RequestUsage, int, Counts]]:
    for record in records:
        if record.HasField("receipt"):
            usage = record.receipt.usage
            counts = Counts(
                usage.input_tokens,
                usage.cached_input_tokens,
                usage.cache_write_tokens,
                usage.output_tokens,
                usage.reasoning_tokens,
            )
            if counts.total:
                yield record, _us(record.start_time), counts


def _us(moment: Timestamp) -> int:
    return moment.seconds * SECOND_US + moment.nanos // 1_000
