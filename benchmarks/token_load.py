"""Right tokens, many of them: shown to the control service one at a time, and to a node all at once."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

from benchmarks.guess_load import WHO_AM_I, bearer
from benchmarks.job import Job, Result
from benchmarks.lane import Lane, open_call
from benchmarks.processor import Meter
from benchmarks.schedule import Schedule
from benchmarks.spread import percentiles
from benchmarks.stream_load import fill
from benchmarks.unary_load import AUTHORIZE, IN_FLIGHT
from benchmarks.wire import Cutter, unary
from benchmarks.workload import Asked
from tallygate._channel import open_aio_channel
from tallygate._security import Security
from tallygate.metering.v1 import decision_pb2
from tallygate.metering.v1 import metering_service_pb2 as pb


async def run_resolve(job: Job) -> Result:
    """Calls on schedule, one at a time, each with the next token: a server that remembers a token has forgotten it."""
    meter, result = Meter(job.server_pids), Result()
    tokens, schedule = cycle(job.tokens), Schedule(job.rate)
    delays_ms: list[float] = []
    async with open_aio_channel(job.addresses[0], Security(**job.security)) as channel:
        await channel.channel_ready()
        call: Any = channel.unary_unary(WHO_AM_I, request_serializer=None, response_deserializer=None)
        for _ in range(2):
            await call(b"", metadata=bearer(job.tokens[0]))
        before = meter.read()
        for _ in range(job.reports_max):
            await schedule.turn()
            began_s = time.perf_counter()
            await call(b"", metadata=bearer(next(tokens)))
            delays_ms.append((time.perf_counter() - began_s) * 1_000)
        fill(result, before, meter.read(), len(delays_ms))
    result.latency_ms = percentiles(delays_ms)
    return result


async def run_shown(job: Job) -> Result:
    """Memory before and after each token was shown once, beside as many calls with one token only."""
    meter, result = Meter(job.server_pids), Result()
    asked = Asked(job.run, job.services)
    async with open_aio_channel(job.addresses[0], Security(**job.security)) as channel:
        call: Any = channel.unary_unary(
            AUTHORIZE, request_serializer=None, response_deserializer=pb.AuthorizeResponse.FromString
        )
        cutter = Cutter(asked.running())
        cut = cutter.cut(1)
        assert cut is not None
        request, first = unary(cut.reports), job.tokens[0]
        denials = await _show(call, request, [first] * len(job.tokens))
        result.server_rss_before_bytes = meter.read().server_rss_bytes
        before = meter.read()
        denials += await _show(call, request, job.tokens)
        after = meter.read()
        fill(result, before, after, len(job.tokens))
        result.server_rss_open_bytes = after.server_rss_bytes
        result.denials = dict(denials)
        cutter.only_rest()
        while cut := cutter.cut(1):
            await call(unary(cut.reports), metadata=bearer(first))
    async with open_aio_channel(job.addresses[0], Security(**{**job.security, "token": first})) as channel:
        await Lane(open_call(channel), asked, durable=True, services=1).close()
    result.finished_requests, result.finished_tokens = asked.said.requests, asked.said.tokens
    return result


async def _show(call: Any, request: bytes, tokens: Sequence[str]) -> "Counter[str]":
    """Ask the same with each token; the reasons of what was denied."""
    denials, rest = Counter[str](), iter(tokens)

    async def caller(mine: Iterator[str]) -> None:
        for token in mine:
            decision = (await call(request, metadata=bearer(token))).decision
            if decision.verdict != decision_pb2.VERDICT_ALLOW:
                denials[decision_pb2.DecisionReason.Name(decision.reason)] += 1

    await asyncio.gather(*(caller(rest) for _ in range(IN_FLIGHT)))
    return denials
