"""Several workers behind one port: real processes, watched by a real supervisor."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import grpc
import psutil
import pytest

from tallygate._server.run import EXIT_SUPERSEDED
from tallygate.control.v1 import operations_service_pb2, operations_service_pb2_grpc
from tests.e2e.command import tallygate
from tests.e2e.programs import Pair, Program, start
from tests.e2e.test_fleet import enable, meter_one
from tests.e2e.test_recover import SAVED, save, until_said

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


async def start_workers(pair: Pair, *options: str, called: str = "workers") -> Program:
    arguments = [
        *("--listen", "127.0.0.1:0", "--control", pair.control.address, "--node-name", "worker"),
        *("--database-url", pair.metering_database_url, "--workers", "2", *options),
    ]
    pair.programs[called] = await start("metering_service", arguments, pair.directory / f"{called}.log")
    return pair.programs[called]


def put_back_in_use(path: Path) -> None:
    """The database is what it was when it was saved, under the feet of all who use it."""
    with sqlite3.connect(path.with_name(SAVED)) as source, sqlite3.connect(path) as target:
        source.backup(target)


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


async def test_of_two_supervisors_with_one_name_the_older_ends_and_says_so(pair: Pair) -> None:
    """The newer one's workers serve on, in their first lives; the older one leaves none running."""
    await enable(pair)
    older = await start_workers(pair, called="older")
    left = children(older)
    newer = await start_workers(pair, called="newer")
    theirs = children(newer)
    assert await asyncio.wait_for(older.process.wait(), WITHIN_S) == EXIT_SUPERSEDED
    last = older.log.read_text().splitlines()[-1]
    assert last.startswith("Another process runs as node worker-")
    assert "--node-name" in last
    assert not [process for process in left if process.is_running()]
    assert await meter_one(newer, "after") == 100_000
    assert children(newer) == theirs
    known = await epochs(pair.control)
    assert (known["worker-1"], known["worker-2"]) == (2, 2)


async def test_workers_go_on_once_a_metering_database_from_an_older_copy_was_recovered(pair: Pair) -> None:
    """Those that notice end, and are started again: there must be somebody to recover with."""
    await enable(pair)
    await pair.metering.stop()
    workers = await start_workers(pair)
    await meter_one(workers, "before")
    path = pair.directory / "metering.sqlite3"
    await asyncio.to_thread(save, path)
    costs = [await meter_one(workers, f"lost-{number}") for number in range(8)]
    await asyncio.to_thread(put_back_in_use, path)
    await until_said(workers.log, "run `tallygate recover`")
    await until_said(workers.log, "The metering database does not know of commit")

    where = ("--control", pair.control.address, "--metering", workers.address)
    said = await asyncio.to_thread(tallygate, "recover", "--yes", "--json", *where)

    assert said.status == 0, said.err
    assert await meter_soon(workers, "after") == costs[0]


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
