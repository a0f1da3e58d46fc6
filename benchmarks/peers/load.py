"""A load that any gRPC server can be asked: the same calls over and over, of many keys, so many at a time."""

import asyncio
import time
from typing import Final

import grpc

from benchmarks.job import Job, Result
from benchmarks.peers.dialects import DIALECTS, Dialect
from benchmarks.processor import Meter
from benchmarks.spread import percentiles
from benchmarks.stream_load import fill

IN_FLIGHT: Final = 64
DECISIONS_IN_FLIGHT: Final = 2_048
"""Calls of many decisions are fewer at a time."""
READY_S: Final = 10.0
"""Time in which a server that answers must also allow: one that has just started may not know its own place yet."""
CHECKED_EACH: Final = 16
"""One of so many answers is read."""


async def run_peer(job: Job) -> Result:
    """`mix` names the dialect, `message_size` is decisions of a call, `requests` keys. The rate is of decisions."""
    meter, result, dialect = Meter(job.server_pids), Result(), DIALECTS[job.mix]
    latencies_ms: list[float] = []
    stop, asked = asyncio.Event(), _requests(job, dialect)
    in_flight = max(2, min(IN_FLIGHT, DECISIONS_IN_FLIGHT // job.message_size))
    async with grpc.aio.insecure_channel(job.addresses[0]) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            dialect.method, request_serializer=None, response_deserializer=None
        )

        async def caller(number: int) -> None:
            while not stop.is_set():
                began_s = time.perf_counter()
                answer = await call(asked[number % len(asked)])
                latencies_ms.append((time.perf_counter() - began_s) * 1_000)
                if number % CHECKED_EACH == 0:
                    _require_allowed(dialect, answer, job.message_size)
                number += 1

        deadline_s = time.perf_counter() + READY_S
        while dialect.allowed(await call(asked[0], wait_for_ready=True)) < job.message_size:
            if time.perf_counter() > deadline_s:
                raise RuntimeError(f"not allowed within {READY_S:.0f} s of the start")
            await asyncio.sleep(0.1)
        callers = asyncio.gather(*(caller(number * len(asked) // in_flight) for number in range(in_flight)))
        await asyncio.wait([callers], timeout=job.warm_up_seconds)
        latencies_ms.clear()
        before = meter.read()
        await asyncio.wait([callers], timeout=job.seconds)
        after, count = meter.read(), len(latencies_ms)
        stop.set()
        await callers
    fill(result, before, after, count * job.message_size)
    result.latency_ms = percentiles(latencies_ms[:count])
    return result


def _requests(job: Job, dialect: Dialect) -> list[bytes]:
    keys = [f"{job.run}-{number:07d}" for number in range(max(job.requests, job.message_size))]
    size = job.message_size
    return [dialect.request(keys[first : first + size]) for first in range(0, len(keys) - size + 1, size)]


def _require_allowed(dialect: Dialect, answer: bytes, decisions: int) -> None:
    allowed = dialect.allowed(answer)
    if allowed != decisions:
        raise RuntimeError(f"{allowed} of {decisions} decisions allowed: the load is another one than was meant")
