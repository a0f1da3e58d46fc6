"""Load on schedule: messages leave when they are due, not when there is room, and latency counts from when they were.

So a server that stalls is charged for all that it kept waiting, not only for the one message that it was asked.
"""

import asyncio
import time

from benchmarks.job import Job, Result
from benchmarks.lane import Lane
from benchmarks.processor import Meter
from benchmarks.spread import percentiles
from benchmarks.stream_load import answered, fill, lanes, settled, sum_up

TICK_MAX_S = 0.02
"""At low rates messages get smaller, not rarer."""
UNANSWERED_MAX = 256
"""Messages on the way on one stream; then the generator waits, while the clock goes on."""


async def run_pace(job: Job) -> Result:
    """So many reports a second over all streams, which take turns."""
    meter, result = Meter(job.server_pids), Result()
    async with lanes(job) as all_lanes:
        await asyncio.gather(*(lane.open() for lane in all_lanes))
        per_lane = job.rate / len(all_lanes)
        tick_s = min(TICK_MAX_S, job.message_size / per_lane)
        size = max(1, round(per_lane * tick_s))
        tick_s = size / per_lane
        stop, begin_s = asyncio.Event(), time.perf_counter() + tick_s
        running = asyncio.gather(
            *(
                pace(lane, size, tick_s, begin_s + tick_s * number / len(all_lanes), stop)
                for number, lane in enumerate(all_lanes)
            )
        )
        await asyncio.sleep(job.warm_up_seconds)
        delays_s = [lane.time_authorisations() for lane in all_lanes]
        first, before = answered(all_lanes), meter.read()
        await asyncio.sleep(job.seconds)
        last, after = answered(all_lanes), meter.read()
        result.durable_lag_s = max(lane.durable_lag_s() for lane in all_lanes)
        fill(result, before, after, last - first)
        stop.set()
        await running
        sum_up(result, all_lanes)
        await asyncio.gather(*(lane.close() for lane in all_lanes))
        settled(result, all_lanes)
    result.latency_ms = percentiles([delay * 1_000 for each in delays_s for delay in each])
    return result


async def pace(lane: Lane, size: int, tick_s: float, due_s: float, stop: asyncio.Event) -> None:
    """Send a message of this size at each tick; late ones at once."""
    lane.begin()
    while not stop.is_set():
        wait_s = due_s - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await lane.until_fewer(UNANSWERED_MAX)
        await lane.send_next(size, due_s)
        due_s += tick_s
