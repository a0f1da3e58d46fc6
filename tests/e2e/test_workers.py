"""Several workers behind one port: real processes, watched by a real supervisor."""

import asyncio
import contextlib
from pathlib import Path

import grpc
import psutil
import pytest

from tallygate.control.v1 import operations_service_pb2, operations_service_pb2_grpc
from tests.e2e.programs import Pair, Program, start
from tests.e2e.test_fleet import enable, meter_one

WITHIN_S = 30


async def epochs(control: Program) -> dict[str, int]:
    """The epoch of each node that control knows."""
    async with grpc.aio.insecure_channel(control.address) as channel:
        stub = operations_service_pb2_grpc.OperationsServiceStub(channel)
        nodes = await stub.ListNodes(operations_service_pb2.ListNodesRequest())
        return {node.node: node.epoch for node in nodes.nodes}


async def started_again(control: Program) -> None:
    """Until one of the two has begun another epoch; every look takes its time."""
    known = {"worker-1": 1, "worker-2": 1}
    while known["worker-1"] + known["worker-2"] < 3:
        known = await epochs(control)


async def start_workers(pair: Pair, *options: str) -> Program:
    arguments = [
        *("--listen", "127.0.0.1:0", "--control", pair.control.address, "--node-name", "worker"),
        *("--database-url", pair.metering_database_url, "--workers", "2", *options),
    ]
    pair.programs["workers"] = await start("metering_service", arguments, pair.directory / "workers.log")
    return pair.programs["workers"]


def children(program: Program) -> list[psutil.Process]:
    return psutil.Process(program.pid).children()


@pytest.mark.parametrize("pair", ["sqlite", "postgresql"], indirect=True)
async def test_a_worker_that_dies_is_started_again_and_settled(pair: Pair) -> None:
    """The others serve on at the shared port meanwhile; nothing outlives the supervisor."""
    await enable(pair)
    workers = await start_workers(pair)
    assert {name: epoch for name, epoch in (await epochs(pair.control)).items() if name != "node-1"} == {
        "worker-1": 1,
        "worker-2": 1,
    }
    costs = [await meter_one(workers, f"before-{number}") for number in range(8)]
    victim = children(workers)[0]
    victim.kill()
    costs += [await meter_soon(workers, f"after-{number}") for number in range(8)]
    assert len(set(costs)) == 1
    async with asyncio.timeout(WITHIN_S):
        await started_again(pair.control)
    assert len(children(workers)) == 2
    left = children(workers)
    await workers.stop()
    assert not [process for process in left if process.is_running()]


async def test_workers_end_with_a_supervisor_that_is_killed(pair: Pair) -> None:
    """They notice, leave cleanly, and give back what they have on lease."""
    workers = await start_workers(pair)
    left = children(workers)
    await workers.kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, left, timeout=WITHIN_S)
    assert not alive


async def test_a_worker_that_cannot_start_is_one_sentence(pair: Pair, tmp_path: Path) -> None:
    """Its own, and the supervisor's; then nothing runs."""
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with pytest.raises(AssertionError):
        await start_workers(pair, "--database-url", f"sqlite:///{blocked}/metering.sqlite3")
    words = (pair.directory / "workers.log").read_text()
    assert "cannot be made" in words
    assert "ended with status 2 before it served" in words


async def meter_soon(node: Program, request_id: str) -> int:
    """As `meter_one`, again where the worker that was asked is the one that dies."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return await meter_one(node, request_id)
