"""Many open requests, finished as fast as the server takes it, until the last one is durable."""

import asyncio
import time

from benchmarks.job import Job, Result
from benchmarks.processor import Meter
from benchmarks.spread import percentiles
from benchmarks.stream_load import fill, lanes, settled


async def run_settle(job: Job) -> Result:
    """The rate is of finished requests, from the first one said to the last one durable."""
    meter, result = Meter(job.server_pids), Result()
    async with lanes(job) as all_lanes:
        await asyncio.gather(*(lane.open() for lane in all_lanes))
        before, delays_s = meter.read(), [lane.time_durability() for lane in all_lanes]
        began_s = time.perf_counter()
        await asyncio.gather(*(lane.close() for lane in all_lanes))
        settled(result, all_lanes)
        fill(result, before, meter.read(), result.finished_requests)
        result.rate = result.finished_requests / (time.perf_counter() - began_s)
    result.latency_ms = percentiles([delay * 1_000 for each in delays_s for delay in each])
    return result
