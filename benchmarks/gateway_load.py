"""Load of a gateway: each request is let through by one call of `ShouldRateLimit`, and counted by another."""

import asyncio
import itertools
import time

import grpc

from benchmarks.job import Job, Result
from benchmarks.processor import Meter
from benchmarks.spread import percentiles
from benchmarks.stream_load import fill
from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate.integrations.ratelimit.rate_limit_pb2 import OK, Descriptor, Entry, RateLimitRequest, RateLimitResponse
from tallygate.integrations.ratelimit.servicers import ENVOY

IN_FLIGHT = 64
TOKENS = 40


async def run_gateway(job: Job) -> Result:
    """So many requests in flight. A call is one of both kinds; what a count takes includes a commit."""
    meter, result, numbers = Meter(job.server_pids), Result(), itertools.count()
    latencies_ms: list[float] = []
    stop = asyncio.Event()
    async with open_aio_channel(job.addresses[0], Security(**job.security)) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[RateLimitRequest, RateLimitResponse] = channel.unary_unary(
            f"/{ENVOY}/ShouldRateLimit",
            request_serializer=RateLimitRequest.SerializeToString,
            response_deserializer=RateLimitResponse.FromString,
        )

        async def ask(request: RateLimitRequest) -> None:
            began_s = time.perf_counter()
            answer = await call(request)
            latencies_ms.append((time.perf_counter() - began_s) * 1_000)
            if answer.overall_code != OK:
                raise RuntimeError(f"a request was refused: {answer.raw_body.decode()}")

        async def caller() -> None:
            while not stop.is_set():
                request = _request(job.services[0], f"{job.run}-{next(numbers)}")
                await ask(request)
                request.descriptors[0].hits_addend.value = TOKENS
                await ask(request)

        callers = asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
        await asyncio.sleep(job.warm_up_seconds)
        latencies_ms.clear()
        before = meter.read()
        await asyncio.sleep(job.seconds)
        after, measured = meter.read(), len(latencies_ms)
        stop.set()
        await callers
    result.finished_requests = next(numbers)
    result.finished_tokens = result.finished_requests * TOKENS
    fill(result, before, after, measured)
    result.latency_ms = percentiles(latencies_ms[:measured])
    return result


def _request(service: str, request_id: str) -> RateLimitRequest:
    said = (("tallygate_service", service), ("tallygate_request_id", request_id))
    return RateLimitRequest(
        domain="gateway", descriptors=[Descriptor(entries=[Entry(key=key, value=value) for key, value in said])]
    )
