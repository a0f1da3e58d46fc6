"""Load on the Meter stream, as fast as the server takes it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks.job import Job, Result
from benchmarks.lane import Lane, open_call
from benchmarks.processor import Meter, Reading
from benchmarks.workload import MIXES
from tallygate._channel import open_aio_channel
from tallygate._security import Security

SAMPLES = 20
SAMPLE_INTERVAL_S = 0.1


@asynccontextmanager
async def lanes(job: Job) -> AsyncIterator[list[Lane]]:
    """A stream each; one connection for each address, since more of them do not pay."""
    async with AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(open_aio_channel(address, Security(**job.security), options))
            for address in job.addresses
        ]
        requests = max(1, job.requests // job.streams)
        yield [
            Lane(
                open_call(channels[number % len(channels)]),
                MIXES[job.mix](f"{job.run}-{number:03d}", _part(job, number), requests, number / job.streams),
                durable=job.durable,
                services=len(job.services),
            )
            for number in range(job.streams)
        ]


def _part(job: Job, stream: int) -> Sequence[str]:
    """The services that a stream speaks of: all of them, where there are few."""
    if len(job.services) < job.streams:
        return job.services
    return job.services[stream :: job.streams]


async def run_stream(job: Job) -> Result:
    """Open, warm up, measure, close."""
    meter, result = Meter(job.server_pids), Result()
    result.server_rss_before_bytes = meter.read().server_rss_bytes
    async with lanes(job) as all_lanes:
        await asyncio.gather(*(lane.open() for lane in all_lanes))
        result.server_rss_open_bytes = meter.read().server_rss_bytes
        stop = asyncio.Event()
        running = asyncio.gather(*(lane.run(job.message_size, stop) for lane in all_lanes))
        await _unless_over(running, job.warm_up_seconds)
        held = sum(lane.held_back_s for lane in all_lanes)
        first, before = answered(all_lanes), meter.read()
        if job.reports_max:
            await _follow(job, all_lanes, running, meter, result)
        else:
            await _unless_over(running, job.seconds)
        last, after = answered(all_lanes), meter.read()
        result.durable_lag_s = max(lane.durable_lag_s() for lane in all_lanes)
        fill(result, before, after, last - first)
        result.held_back = (sum(lane.held_back_s for lane in all_lanes) - held) / result.seconds / len(all_lanes)
        stop.set()
        await running
        sum_up(result, all_lanes)
        await asyncio.gather(*(lane.close() for lane in all_lanes))
        settled(result, all_lanes)
    return result


async def _follow(
    job: Job, all_lanes: Sequence[Lane], running: "asyncio.Future[list[None]]", meter: Meter, result: Result
) -> None:
    """Until so many reports are answered or the time is up; notes rate and memory at every part of them."""
    part = job.reports_max // SAMPLES
    begin = last = meter.read()
    first = last_count = answered(all_lanes)
    while last.at_s - begin.at_s < job.seconds and last_count - first < job.reports_max:
        await _unless_over(running, SAMPLE_INTERVAL_S)
        if answered(all_lanes) - last_count < part:
            if meter.read().at_s - begin.at_s > job.seconds:
                return
            continue
        count, now = answered(all_lanes), meter.read()
        result.series.append(
            {
                "reports": count - first,
                "rate": (count - last_count) / (now.at_s - last.at_s),
                "rss_bytes": now.server_rss_bytes,
            }
        )
        last, last_count = now, count


def fill(result: Result, before: Reading, after: Reading, count: int) -> None:
    """What lies between two readings."""
    result.seconds = after.at_s - before.at_s
    result.window_s = [before.at_s, after.at_s]
    result.reports = count
    result.rate = count / result.seconds
    result.client_cpu = (after.own_s - before.own_s) / result.seconds
    result.server_cpu = (after.server_s - before.server_s) / result.seconds
    result.server_rss_bytes = after.server_rss_bytes


def sum_up(result: Result, all_lanes: Sequence[Lane]) -> None:
    """What the streams heard."""
    denials: Counter[str] = Counter()
    for lane in all_lanes:
        denials.update(lane.denials)
    result.denials = dict(denials)
    measured = answered(all_lanes) - sum(lane.opened_at for lane in all_lanes)
    result.by_name = sum(lane.named for lane in all_lanes) / max(1, measured)
    result.authorisations = sum(lane.authorisations for lane in all_lanes)
    result.late_authorisations = sum(lane.late for lane in all_lanes)


def settled(result: Result, all_lanes: Sequence[Lane]) -> None:
    """What was finished, and must be on record."""
    result.finished_requests = sum(lane.mix.said.requests for lane in all_lanes)
    result.finished_tokens = sum(lane.mix.said.tokens for lane in all_lanes)


def answered(all_lanes: Sequence[Lane]) -> int:
    """Reports that are, on all streams."""
    return sum(lane.answered for lane in all_lanes)


async def _unless_over(running: "asyncio.Future[list[None]]", seconds: float) -> None:
    """So long, but no longer than all is well."""
    done, _ = await asyncio.wait([running], timeout=seconds)
    if done:
        running.result()
