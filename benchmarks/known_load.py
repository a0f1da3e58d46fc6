"""Services that a node knows, and has no more of: all of them are suspended, so each is asked for once and refused."""

import asyncio

from benchmarks.job import Job, Result
from benchmarks.processor import Meter
from benchmarks.stream_load import fill, lanes


async def run_known(job: Job) -> Result:
    """The rate is of services learned; memory is read before any is known and once all are."""
    meter, result = Meter(job.server_pids), Result()
    async with lanes(job) as all_lanes:
        result.server_rss_before_bytes = meter.read().server_rss_bytes
        before = meter.read()
        await asyncio.gather(*(lane.open(denial="DECISION_REASON_SUSPENDED") for lane in all_lanes))
        after = meter.read()
        fill(result, before, after, job.requests)
        result.server_rss_open_bytes = after.server_rss_bytes
        await asyncio.gather(*(lane.close() for lane in all_lanes))
    return result
