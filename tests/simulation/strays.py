"""Reports that go astray: finishes with tokens that were not given for them, and one that only a stranger hears."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
from grpc.aio import AioRpcError

from tallygate.metering.v1 import metering_service_pb2
from tests.simulation.jobs import FINISH, Job

if TYPE_CHECKING:
    from tests.simulation.servers import InferenceServer
    from tests.simulation.simulation_harness import World

STRAYS_ONE_IN = 20
BEYOND_TOKENS = 7
SETTLE_S = 10.0
"""Nodes that were fenced have come back by then."""
PATIENCE_S = 75.0
"""Longer than a finish waits for the part before it."""
MADE_UP = (
    b'%b["node0.1.1","node0","",1,1700000000000000,0,0,1,90000,90000,0,0,0,180000,90000000,1,5,5,5,5,5]',
    b"\0\0\0\1" + b"\0" * 16,
    b"\0\0\7\7" + b"\0" * 16,
)
"""A content that nobody signed: with the number of a key that there is, and with that of one that there is not."""


def disguised(world: "World", server: "InferenceServer", job: Job) -> Job:
    """A request that does not ask shows, now and then, a token that is none of its own. No luck is drawn for that."""
    if job.asks:
        job.strays = job.number % STRAYS_ONE_IN == STRAYS_ONE_IN // 2
        return job
    content, *heads = MADE_UP
    number = job.number
    begun = [each for each in world.jobs if each.token and each is not job]
    match number % 4:
        case 0:
            _take_name(world, server, job, begun)
        case 1 if begun:
            token = bytearray(begun[-1].token)
            token[number % len(token)] ^= 1 << number // 4 % 8
            job.token = bytes(token)
        case 2:
            job.token = content % heads[number // 4 % 2]
    if job.token:
        world.chance.note("wrong token shown")
    return job


def _take_name(world: "World", server: "InferenceServer", job: Job, begun: list[Job]) -> None:
    """Be called as a request of another service is, and show the token of that one."""
    names = {(each.service, each.request_id) for each in world.jobs}
    for other in reversed(begun):
        is_free = (job.service, other.request_id) not in names and other.request_id not in server.jobs
        if other.service != job.service and is_free:
            job.request_id, job.token = other.request_id, other.token
            return


async def one_more(world: "World", work: "list[asyncio.Future[None]]") -> None:
    """Both kinds once more when all is healed, what people had begun has ended, and no stream breaks any more."""
    if work:
        await asyncio.wait(work)
    await asyncio.sleep(SETTLE_S)
    steady = world.people.steady
    another = next(name for name in world.people.service_names if name != steady)
    while (pair := _pair(world, steady, another)) is None:  # noqa: ASYNC110  # as above
        await asyncio.sleep(1.0)
    job = world.job(steady)
    job.asks = job.strays = True
    pair[0].begin(job)
    while not (job.begun or job.denied):  # noqa: ASYNC110  # simulated time costs nothing
        await asyncio.sleep(0.1)
    twin = world.job(another)
    twin.asks, twin.request_id, twin.token = False, job.request_id, job.token
    pair[1].begin(twin)
    while not (job.durable or job.denied):  # noqa: ASYNC110  # as above
        await asyncio.sleep(1.0)


def _pair(world: "World", *services: str) -> "list[InferenceServer] | None":
    """Two servers that have a stream, one for each of these services; None while there are none."""
    pair: list[InferenceServer] = []
    for service in services:
        servers = [server for server in world.servers_of(service) if server.line is not None and server not in pair]
        pair += servers[:1]
    return pair if len(pair) == len(services) else None


async def end_elsewhere(server: "InferenceServer", job: Job) -> None:
    """End a request beyond its grant at nodes that did not give it, while the one that did still has its stream.

    That one hears nothing, so that its part does not end before the stream does.
    """
    job.silent = True
    job.output_tokens = max(job.output_tokens, job.ceiling_tokens) + BEYOND_TOKENS
    job.end()
    while not job.durable:
        with suppress(AioRpcError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await _end_at_some_node(server, job)
        await asyncio.sleep(server.world.chance.uniform(0.1, 1.0))
    job.finished = True
    if server.line is not None:
        server.line.call.break_off("the server connects anew")


async def _end_at_some_node(server: "InferenceServer", job: Job) -> None:
    world, line = server.world, server.line
    others = [
        process
        for process in world.nodes.values()
        if process is not None and process.serving and (line is None or process.server is not line.call.server)
    ]
    process = world.chance.pick(others) if others else world.some_node()
    if process is None or process.servicer is None:
        return
    call = server.open_stream(process)
    world.note(f"{job.request_id} ends with {job.total_tokens} at {call.name} alone")
    try:
        await call.write(metering_service_pb2.MeterRequest(first_sequence=1, reports=[job.final_report()]))
        await call.done_writing()
        while (message := await call.read()) is not grpc.aio.EOF:
            if message.durable_through:
                job.take_durable(world, FINISH, job.said(FINISH))
                return
    finally:
        call.cancel()
