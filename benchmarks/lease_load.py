"""Simulated metering nodes that do nothing but exchange leases: each as fast as it is answered, or on schedule."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import grpc

from benchmarks.job import Job, Result
from benchmarks.processor import Meter
from benchmarks.spread import percentiles
from benchmarks.stream_load import fill
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import fleet_service_pb2_grpc, inference_service_pb2, pot_pb2

DATABASE_ID = "bench"
WANTED_NANOS = 1_000_000


class SimulatedNode:
    """Spends all that it gets, of one service's money."""

    def __init__(self, stub: "fleet_service_pb2_grpc.FleetServiceAsyncStub", name: str, service: str) -> None:
        self._stub = stub
        self._name = name
        self._service = service
        self._uid = ""
        self._version = 0
        self._number = 0
        self._granted = 0
        self._ready = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Until the service runs: its activation is a change that is none of what is measured."""
        self._watching = asyncio.create_task(self._watch())
        waiting = asyncio.create_task(self._ready.wait())
        await asyncio.wait({self._watching, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if self._watching.done():
            self._watching.result()

    async def exchange(self, *, closing: bool = False) -> None:
        """Say that all is spent, and ask for more."""
        self._number += 1
        request = pb.ExchangeLeasesRequest(
            node=self._name,
            epoch=1,
            exchange_number=self._number,
            acknowledged_version=self._version,
            settled_below_epoch=1,
            answered_exchange_number=self._number - 1,
            commit_no=self._number,
        )
        request.statements.add(
            lease_id=f"{self._name}-lease",
            inference_service=self._service,
            inference_service_uid=self._uid,
            pot_kind=pot_pb2.POT_KIND_MONEY,
            consumed_units=self._granted,
            wanted_units=0 if closing else WANTED_NANOS,
            closing=closing,
        )
        answer = await self._stub.ExchangeLeases(request)
        if answer.answers:
            self._granted = answer.answers[0].granted_units

    async def leave(self) -> None:
        """Give back what there is, and hang up."""
        await self.exchange(closing=True)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self) -> None:
        call = self._stub.WatchConfig()
        hello = pb.NodeHello(node=self._name, epoch=1, metering_database_id=DATABASE_ID)
        await call.write(pb.WatchConfigRequest(hello=hello))
        await call.write(pb.WatchConfigRequest(subscription=pb.ConfigSubscription(subscribe=[self._service])))
        async for message in call:
            self._version = max(self._version, message.version)
            acknowledgement = pb.ConfigAcknowledgement(version=self._version)
            await call.write(pb.WatchConfigRequest(acknowledgement=acknowledgement))
            for service in message.services:
                self._uid = service.uid
                if service.status == inference_service_pb2.SERVICE_STATUS_RUNNING:
                    self._ready.set()


async def run_leases(job: Job) -> Result:
    """`streams` nodes, spread over addresses and services in turn; the rate is of exchanges.

    With `rate` exchanges are due on schedule, over all nodes in turn, and are late where a node still waits for the one
    before: latency counts from when they were due.
    """
    meter, result = Meter(job.server_pids), Result()
    latencies_ms: list[float] = []
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(each)) for each in job.addresses]
        stubs = [fleet_service_pb2_grpc.FleetServiceStub(channel) for channel in channels]
        nodes = [
            SimulatedNode(stubs[number % len(stubs)], f"n{job.run}-{number}", job.services[number % len(job.services)])
            for number in range(job.streams)
        ]
        await asyncio.gather(*(node.join() for node in nodes))
        begin_s = time.perf_counter()

        async def work(number: int, node: SimulatedNode) -> None:
            due = _schedule(begin_s, number, job)
            while not stop.is_set():
                due_s = await due()
                await node.exchange()
                latencies_ms.append((time.perf_counter() - due_s) * 1_000)

        working = asyncio.gather(*(work(number, node) for number, node in enumerate(nodes)))
        await asyncio.sleep(job.warm_up_seconds)
        latencies_ms.clear()
        before = meter.read()
        await asyncio.sleep(job.seconds)
        after, count = meter.read(), len(latencies_ms)
        stop.set()
        await working
        fill(result, before, after, count)
        result.latency_ms = percentiles(latencies_ms[:count])
        await asyncio.gather(*(node.leave() for node in nodes))
    return result


def _schedule(begin_s: float, number: int, job: Job) -> Callable[[], Awaitable[float]]:
    """Waits until a node's next exchange is due, and says since when; at once, without a rate."""
    interval_s = job.streams / job.rate if job.rate else 0.0
    due_s = begin_s + interval_s * number / job.streams

    async def due() -> float:
        nonlocal due_s
        if not interval_s:
            return time.perf_counter()
        this_s, due_s = due_s, due_s + interval_s
        await asyncio.sleep(max(0.0, this_s - time.perf_counter()))
        return this_s

    return due
