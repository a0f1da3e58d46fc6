"""Load of unary Authorize calls: as fast as they are answered, or on schedule."""

import asyncio
import time

import grpc

from benchmarks.job import Job, Result
from benchmarks.lane import Lane, open_call
from benchmarks.processor import Meter
from benchmarks.schedule import Schedule
from benchmarks.spread import percentiles
from benchmarks.stream_load import fill
from benchmarks.wire import Cutter, unary
from benchmarks.workload import Asked
from tallygate._channel import open_aio_channel
from tallygate._security import Security

AUTHORIZE = "/tallygate.metering.v1.MeteringService/Authorize"
IN_FLIGHT = 64


async def run_unary(job: Job) -> Result:
    """So many calls in flight, each for a new request; afterwards all of them are finished on a stream.

    With a rate, calls leave when they are due, and what each took counts from then.
    """
    meter, result = Meter(job.server_pids), Result()
    asked = Asked(job.run, job.services)
    latencies_ms: list[float] = []
    async with open_aio_channel(job.addresses[0], Security(**job.security)) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            AUTHORIZE, request_serializer=None, response_deserializer=None
        )
        cutter, stop, schedule = Cutter(asked.running()), asyncio.Event(), Schedule(job.rate)

        async def caller() -> None:
            while not stop.is_set():
                cut = cutter.cut(1)
                assert cut is not None
                began_s = await schedule.turn()
                await call(unary(cut.reports))
                latencies_ms.append((time.perf_counter() - began_s) * 1_000)

        callers = asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        await asyncio.sleep(job.warm_up_seconds)
        latencies_ms.clear()
        before = meter.read()
        await asyncio.sleep(job.seconds)
        after, measured = meter.read(), len(latencies_ms)
        stop.set()
        await callers
        if not measured:
            raise RuntimeError("no call was answered in the time of the measurement")
        fill(result, before, after, measured)
        result.latency_ms = percentiles(latencies_ms[:measured])
        if job.durable:
            cutter.only_rest()
            while cut := cutter.cut(1):
                await call(unary(cut.reports))
            lane = Lane(open_call(channel), asked, durable=True, services=1)
            await lane.close()
            result.finished_requests, result.finished_tokens = asked.said.requests, asked.said.tokens
    return result
