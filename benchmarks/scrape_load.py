"""Scrapes of services at work: how long each takes, and how late the services answer calls meanwhile."""

import asyncio
import gc
import time
from collections.abc import Mapping
from statistics import median

from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.job import Job, Result
from benchmarks.processor import Meter
from benchmarks.stream_load import fill, lanes, settled
from tallygate._channel import open_aio_channel
from tallygate._security import Security

SCRAPES = 20
LOOK_INTERVAL_S = 0.005
"""Interval of the calls by which a stall is seen: a loop that stands still answers none of them."""


async def run_scrape(job: Job) -> Result:
    """Open, look on without scrapes and with them for as long, close."""
    meter, result = Meter(job.server_pids), Result()
    async with lanes(job) as all_lanes:
        await asyncio.gather(*(lane.open() for lane in all_lanes))
        gc.freeze()  # what is open here is not searched for garbage while times are taken
        before = meter.read()
        for is_scraped in (False, True):
            found = await asyncio.gather(
                *(
                    _watch(name, *addresses, job.seconds, is_scraped=is_scraped)
                    for name, addresses in job.watched.items()
                )
            )
            for latencies in found:
                result.latency_ms |= latencies
        fill(result, before, meter.read(), SCRAPES * len(job.watched))
        await asyncio.gather(*(lane.close() for lane in all_lanes))
        settled(result, all_lanes)
    return result


async def _watch(name: str, metrics: str, address: str, seconds: float, *, is_scraped: bool) -> Mapping[str, float]:
    """Milliseconds of scrapes and of the longest call meanwhile, by what figures call them."""
    over = asyncio.Event()
    looking = asyncio.create_task(_longest_call_s(address, over))
    scrapes_s = []
    for _ in range(SCRAPES):
        began_s = time.perf_counter()
        if is_scraped:
            await _scrape(metrics)
        scrapes_s.append(time.perf_counter() - began_s)
        await asyncio.sleep(seconds / SCRAPES)
    over.set()
    longest_s = await looking
    if not is_scraped:
        return {f"{name}, longest call without scrapes": longest_s * 1e3}
    return {
        f"{name}, median": median(scrapes_s) * 1e3,
        f"{name}, longest": max(scrapes_s) * 1e3,
        f"{name}, longest call meanwhile": longest_s * 1e3,
    }


async def _scrape(metrics: str) -> None:
    """Read all that is told, as Prometheus does. Raises RuntimeError where the loop did not answer."""
    host, _, port = metrics.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    page = await reader.read()
    writer.close()
    if b"tallygate_loop_answers 1.0" not in page:
        raise RuntimeError(f"a scrape of {metrics} lacks most of what there is")


async def _longest_call_s(address: str, over: asyncio.Event) -> float:
    longest_s = 0.0
    async with open_aio_channel(address, Security()) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        await check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        while not over.is_set():
            began_s = time.perf_counter()
            await check(health_pb2.HealthCheckRequest())
            longest_s = max(longest_s, time.perf_counter() - began_s)
            await asyncio.sleep(LOOK_INTERVAL_S)
    return longest_s
