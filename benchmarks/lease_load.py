"""Simulated metering nodes that do nothing but exchange leases, each as fast as it is answered."""

import asyncio
import time

import grpc

from benchmarks.job import Job, Result
from benchmarks.processor import Meter
from benchmarks.spread import percentiles
from benchmarks.stream_load import fill
from tallygate.control.v1 import fleet_service_pb2 as pb
from tallygate.control.v1 import fleet_service_pb2_grpc, pot_pb2

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
        """Until it knows the service."""
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
                self._ready.set()


async def run_leases(job: Job) -> Result:
    """`streams` nodes; the rate is of exchanges."""
    meter, result = Meter(job.server_pids), Result()
    latencies_ms: list[float] = []
    stop = asyncio.Event()
    async with grpc.aio.insecure_channel(job.addresses[0]) as channel:
        stub = fleet_service_pb2_grpc.FleetServiceStub(channel)
        nodes = [SimulatedNode(stub, f"n{job.run}-{number}", job.services[0]) for number in range(job.streams)]
        await asyncio.gather(*(node.join() for node in nodes))

        async def work(node: SimulatedNode) -> None:
            while not stop.is_set():
                began_s = time.perf_counter()
                await node.exchange()
                latencies_ms.append((time.perf_counter() - began_s) * 1_000)

        working = asyncio.gather(*(work(node) for node in nodes))
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
