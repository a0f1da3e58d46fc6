"""Decisions in the inference server's own process, on a grant that it holds."""

import asyncio
import time

from benchmarks.job import Job, Result
from benchmarks.processor import Meter
from benchmarks.stream_load import fill
from tallygate.client import MeteringClient

CHUNK = 50_000
"""After so many the event loop has its turn, in which grants are renewed."""
GRANT_MIN = 10_000
"""Grants grow with what was generated; smaller ones are not timed."""


async def run_client(job: Job) -> Result:
    """One request generates a token at a time; only the decisions themselves are timed."""
    meter, result = Meter(job.server_pids), Result()
    count, seconds = 0, 0.0
    async with MeteringClient(job.addresses) as client:
        request = client.request(job.services[0], request_id=job.run, input_tokens=100)
        await request.authorize()
        before = meter.read()
        output = request.output
        tokens = 0
        while seconds < job.seconds and (free := await request.wait_for_tokens()):
            chunk = min(free, CHUNK)
            began_s = time.perf_counter()
            for _ in range(chunk):
                output(1)
            took_s = time.perf_counter() - began_s
            tokens += chunk
            if chunk >= GRANT_MIN:
                count += chunk
                seconds += took_s
            await asyncio.sleep(0)
        request.finish()
        await request.wait_recorded()
        fill(result, before, meter.read(), count)
    result.rate = count / seconds if seconds else 0.0
    result.finished_requests, result.finished_tokens = 1, 100 + tokens
    return result
