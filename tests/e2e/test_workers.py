"""Several workers behind one port: real processes, watched by a real supervisor."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import grpc
import psutil
import pytest

from tallygate._server.process.run import EXIT_SUPERSEDED
from tallygate.control.v1 import operations_service_pb2, operations_service_pb2_grpc
from tallygate.metering.v1 import (
    metering_service_pb2,
    metering_service_pb2_grpc,
    report_pb2,
    request_usage_pb2,
    token_usage_pb2,
)
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import tallygate
from tests.harness.programs.one_service import SERVICE, account, allowed, enable, meter_one, recorded
from tests.harness.programs.programs import Pair, Program, start, until_said
from tests.harness.programs.requests import answered
from tests.harness.programs.sqlite_copy import put_back_in_use, save

OPEN_COST_NANOS = 100 * 1_000 + 5 * 2_000


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


def own_address(worker: psutil.Process, workers: Program) -> str:
    """Where only this worker listens."""
    listening = {at.laddr.port for at in worker.net_connections("tcp") if at.status == psutil.CONN_LISTEN}
    (port,) = listening - {int(workers.address.rpartition(":")[2])}
    return f"127.0.0.1:{port}"


async def leave_open(node: Program, request_id: str) -> None:
    """Authorise a request, and say of it once what it has used."""
    usage = token_usage_pb2.TokenUsage(input_tokens=100)
    report = report_pb2.TokenReport(
        request_id=request_id, service=SERVICE, phase=report_pb2.REPORT_PHASE_AUTHORIZE, usage=usage
    )
    async with grpc.aio.insecure_channel(node.address) as channel:
        await allowed(channel, report)
        report.phase = report_pb2.REPORT_PHASE_PROGRESS
        report.usage.output_tokens = 5
        said = metering_service_pb2.ReportRequest(report=report)
        await answered(lambda: metering_service_pb2_grpc.MeteringServiceStub(channel).Report(said))


async def output_on_record(node: Program, request_id: str) -> int:
    """A request's output tokens that would outlive all nodes."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        return sum(part.usage.output_tokens for part in await recorded(node, request_id))
    return 0


def children(program: Program) -> list[psutil.Process]:
    return psutil.Process(program.pid).children()


@pytest.mark.parametrize("pair", ["sqlite", "postgresql"], indirect=True)
async def test_a_worker_that_dies_is_started_again(pair: Pair) -> None:
    """The others serve on at the shared port meanwhile; nothing outlives the supervisor."""
    await enable(pair)
    workers = await start_workers(pair)
    assert await epochs(pair.control) == {"node-1": 1, "worker-1": 1, "worker-2": 1}
    costs = [await meter_one(workers, f"before-{number}") for number in range(8)]
    victim = children(workers)[0]
    victim.kill()
    costs += [await meter_soon(workers, f"after-{number}") for number in range(8)]
    assert len(set(costs)) == 1
    async with asyncio.timeout(PATIENCE_S):
        await started_again(pair.control)
    assert len(children(workers)) == 2
    left = children(workers)
    await workers.stop()
    assert not [process for process in left if process.is_running()]


@pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
async def test_what_a_worker_that_dies_left_is_settled(pair: Pair) -> None:
    """Its open request is booked at its last counts, and of the account's money nothing is on lease any more."""
    await enable(pair)
    workers = await start_workers(pair)
    victim = children(workers)[0]
    alone = replace(workers, address=own_address(victim, workers))
    cost = await meter_one(alone, "finished")
    await leave_open(alone, "open")
    async with asyncio.timeout(PATIENCE_S):
        while not await output_on_record(pair.metering, "open"):  # noqa: ASYNC110  # a node's next commit
            await asyncio.sleep(0.05)
    assert (await account(pair)).leased_nanos > 0
    victim.kill()
    async with asyncio.timeout(PATIENCE_S):
        while (await account(pair)).leased_nanos:  # noqa: ASYNC110  # it is other processes that we wait for
            await asyncio.sleep(0.5)
    (part,) = await recorded(pair.metering, "open")
    assert part.state == request_usage_pb2.SETTLEMENT_STATE_TIMED_OUT
    assert part.receipt.cost_nanos == OPEN_COST_NANOS
    assert (await account(pair)).available_nanos == 5_000_000_000 - cost - OPEN_COST_NANOS


async def test_workers_end_with_a_supervisor_that_is_killed(pair: Pair) -> None:
    """They notice, leave cleanly, and give back what they have on lease."""
    workers = await start_workers(pair)
    left = children(workers)
    await workers.kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, left, timeout=PATIENCE_S)
    assert not alive


async def test_of_two_supervisors_with_one_name_the_older_ends_and_says_so(pair: Pair) -> None:
    """The newer one's workers serve on, in their first lives; the older one leaves none running."""
    await enable(pair)
    older = await start_workers(pair, called="older")
    left = children(older)
    newer = await start_workers(pair, called="newer")
    theirs = children(newer)
    assert await asyncio.wait_for(older.process.wait(), PATIENCE_S) == EXIT_SUPERSEDED
    last = older.log.read_text().splitlines()[-1]
    assert last.startswith("Another process runs as node worker-")
    assert "--node-name" in last
    assert not [process for process in left if process.is_running()]
    assert await meter_one(newer, "after") == 100_000
    assert children(newer) == theirs
    known = await epochs(pair.control)
    assert (known["worker-1"], known["worker-2"]) == (2, 2)


@pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
async def test_a_worker_that_froze_and_was_taken_over_comes_back_by_itself(pair: Pair) -> None:
    """A caretaker is no other process of its name: nobody ends, and nothing is started again."""
    await enable(pair)
    workers = await start_workers(pair)
    before = children(workers)
    alone = replace(workers, address=own_address(before[0], workers))
    cost = await meter_one(alone, "before")
    before[0].suspend()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while max((await epochs(pair.control)).values()) == 1:  # noqa: ASYNC110  # other processes' doing
                await asyncio.sleep(0.1)
    finally:
        before[0].resume()
    await until_said(workers.log, "coming_back")
    assert await meter_soon(alone, "after") == cost
    assert children(workers) == before


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
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return await meter_one(node, request_id)
