"""Progress of every running request at every step of the inference server, through the client library."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.job import Job, Result
from benchmarks.processor import Meter
from benchmarks.stream_load import fill
from tallygate.client import ClientSettings, Denied, MeteredRequest, MeteringClient

INPUT_TOKENS = 100
TURNS_MAX = 4
"""Turns of the event loop in which a step usually leaves; after that the loop sleeps, as behind a slow node."""
PAUSE_S = 0.001


@dataclass(eq=False)
class Engine:
    """An inference server whose requests all run: a step generates a token of each, and reports it."""

    client: MeteringClient
    requests: list[MeteredRequest]
    steps: int = 0

    def __post_init__(self) -> None:
        self._calls: list[tuple[Callable[[int], None], Callable[[], None]]] = [
            (request.output, request.report) for request in self.requests
        ]

    async def run(self, seconds: float) -> None:
        """Step after step, each only once the one before has left: no report is merged with the next one."""
        end_s = time.perf_counter() + seconds
        while time.perf_counter() < end_s:
            sent = self.client.reports_sent + len(self._calls)
            for output, report in self._calls:
                output(1)
                report()
            self.steps += 1
            turns = 0
            while self.client.reports_sent < sent:
                await asyncio.sleep(0 if turns < TURNS_MAX else PAUSE_S)
                turns += 1


async def _begin(client: MeteringClient, job: Job, number: int) -> MeteredRequest:
    """A request that runs; until the node has leases for so many, it is told to ask again."""
    while True:
        request = client.request(job.services[0], request_id=f"{job.run}-{number}", input_tokens=INPUT_TOKENS)
        try:
            await request.authorize()
        except Denied as denied:
            if not denied.retryable:
                raise
            await asyncio.sleep(denied.retry_after_ms / 1_000)
        else:
            return request


async def run_steps(job: Job) -> Result:
    """Reports a second of the client's processor time; all of it counts, that of gRPC as well."""
    meter, result = Meter(job.server_pids), Result()
    settings = ClientSettings(open_requests_max=job.requests)
    async with MeteringClient(job.addresses, settings=settings) as client:
        requests = [await _begin(client, job, number) for number in range(job.requests)]
        engine = Engine(client, requests)
        await engine.run(job.warm_up_seconds)
        before, before_s, sent = meter.read(), time.process_time(), client.reports_sent
        await engine.run(job.seconds)
        count, took_s = client.reports_sent - sent, time.process_time() - before_s
        fill(result, before, meter.read(), count)
        for request in requests:
            request.finish()
        await asyncio.gather(*(request.wait_recorded() for request in requests))
    result.rate = count / took_s
    result.finished_requests = job.requests
    result.finished_tokens = job.requests * (INPUT_TOKENS + engine.steps)
    return result
