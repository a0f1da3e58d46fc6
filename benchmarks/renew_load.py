"""A mix that has an end, because each of its reports renews a grant: said as fast as the server takes it."""

import asyncio

from benchmarks.job import Job, Result
from benchmarks.processor import Meter
from benchmarks.stream_load import answered, fill, lanes, settled, sum_up


async def run_renew(job: Job) -> Result:
    """The rate is of reports, from the first one said to the last one answered."""
    meter, result = Meter(job.server_pids), Result()
    async with lanes(job) as all_lanes:
        await asyncio.gather(*(lane.open() for lane in all_lanes))
        first, before = answered(all_lanes), meter.read()
        await asyncio.gather(*(lane.run_to_end(job.message_size) for lane in all_lanes))
        fill(result, before, meter.read(), answered(all_lanes) - first)
        sum_up(result, all_lanes)
        await asyncio.gather(*(lane.close() for lane in all_lanes))
        settled(result, all_lanes)
    return result
