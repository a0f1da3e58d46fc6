"""The synchronous client: the same words without `await`, from many threads, and not in a forked child."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import pytest

from tallygate.client import (
    Denied,
    MeteringError,
    SyncMeteredRequest,
    SyncMeteringClient,
    Unreachable,
    Usage,
)
from tallygate.metering.v1 import decision_pb2
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S, until
from tests.harness.wire.fake_metering import FakeMetering, serving

SERVICE = "accounts/acme/services/chat"
THREADS = 16
REQUESTS = 10


@pytest.fixture
async def node(handles_max: int) -> AsyncIterator[FakeMetering]:
    """One metering node, which holds the client to the contract."""
    fake = FakeMetering()
    fake.handles_max = handles_max
    async with serving(fake):
        yield fake
    assert not fake.wrong


async def test_a_request_from_its_entry_to_its_receipt(node: FakeMetering) -> None:
    """Authorise, count, renew, stop at the final ceiling, receipt."""
    node.limit = 250

    def serve() -> SyncMeteredRequest:
        with SyncMeteringClient(node.address, settings=PATIENT) as metering:
            with metering.request(SERVICE, input_tokens=12, max_output_tokens=1_000) as request:
                while request.wait_for_tokens():
                    request.output()
                    request.report()
            assert metering.open_requests == 0
        return request

    request = await asyncio.to_thread(serve)
    assert (request.usage.output_tokens, request.must_stop) == (250, True)
    assert request.receipt is not None
    assert (request.receipt.usage.total_tokens, request.receipt.cost_nanos) == (262, 7)


async def test_many_threads_share_one_stream(node: FakeMetering) -> None:
    """Every token of every thread is counted and on record, and nobody's tokens are somebody else's."""

    def serve(metering: SyncMeteringClient, number: int) -> int:
        total = 0
        for turn in range(REQUESTS):
            with metering.request(SERVICE, request_id=f"r{number}.{turn}", input_tokens=number) as request:
                wanted = 100 * turn + number
                while (missing := wanted - request.usage.output_tokens) and (free := request.wait_for_tokens()):
                    for _ in range(min(missing, free)):
                        request.output()
                total += request.usage.output_tokens
            assert request.receipt is not None
            assert request.receipt.usage.output_tokens == wanted
        return total

    def serve_all() -> int:
        with SyncMeteringClient(node.address, settings=PATIENT) as metering, ThreadPoolExecutor(THREADS) as pool:
            return sum(pool.map(lambda number: serve(metering, number), range(THREADS)))

    total = await asyncio.to_thread(serve_all)
    assert len(node.streams) == 1
    assert len(node.committed) == THREADS * REQUESTS
    assert sum(report.usage.output_tokens for report in node.committed.values()) == total


async def test_errors_and_stops_are_those_of_the_asynchronous_client(node: FakeMetering) -> None:
    """Denied and Unreachable where the context is entered, an unasked stop while it runs."""
    node.denials["no"] = decision_pb2.DECISION_REASON_BUDGET_CONTENDED
    running, stopped = Event(), Event()

    def serve() -> SyncMeteredRequest:
        with SyncMeteringClient(node.address, settings=PATIENT) as metering:
            with pytest.raises(Denied, match="BUDGET_CONTENDED"):
                metering.request(SERVICE, request_id="no").authorize()
            with metering.request(SERVICE, request_id="yes") as request:
                running.set()
                assert stopped.wait(PATIENCE_S)
                while not request.must_stop:
                    request.output(0)
                assert request.wait_for_tokens() == 0
                request.set_usage(Usage(input_tokens=3, output_tokens=4))
                request.finish(want_receipt=True)
                assert request.wait_recorded() is not None
            record = metering.record(SERVICE, Usage(input_tokens=1), request_id="late")
            assert record.receipt is not None
        return request

    served = asyncio.create_task(asyncio.to_thread(serve))
    await until(running.is_set)
    node.streams[0].stop("yes", decision_pb2.DECISION_REASON_SUSPENDED)
    stopped.set()
    request = await served
    assert request.denial is not None
    assert (request.denial.reason, request.usage.total_tokens) == ("SUSPENDED", 7)


async def test_closing_frees_whoever_waits(node: FakeMetering) -> None:
    """A thread that waits for an answer gets an error instead of waiting for ever."""
    node.muted = True
    client = SyncMeteringClient(node.address, settings=PATIENT)
    client.start()
    waiting = asyncio.create_task(asyncio.to_thread(client.request(SERVICE, request_id="r1").authorize))
    await until(lambda: node.reports)
    await asyncio.to_thread(client.close)
    with pytest.raises(MeteringError, match="closed meanwhile"):
        await waiting
    with pytest.raises(MeteringError, match="not running"):
        client.request(SERVICE).authorize()


def test_without_a_node_it_is_unreachable() -> None:
    """Nobody answers: the same error, on the calling thread."""
    settings = replace(PATIENT, answer_ms=100)
    with SyncMeteringClient("127.0.0.1:1", settings=settings) as metering, pytest.raises(Unreachable):
        metering.request(SERVICE).authorize()


async def test_a_forked_child_is_refused_in_one_sentence_and_the_parent_goes_on(node: FakeMetering) -> None:
    """A child that uses its parent's client is told at once what to do instead."""
    program = textwrap.dedent(
        f"""
        import os, sys
        from tallygate.client import Forked, SyncMeteringClient

        metering = SyncMeteringClient({node.address!r})
        metering.start()
        with metering.request({SERVICE!r}, request_id="r1") as request:
            child = os.fork()
            if not child:
                try:
                    request.output()
                except Forked as error:
                    print(error, flush=True)
                try:
                    metering.request({SERVICE!r}).authorize()
                except Forked as error:
                    metering.close()
                    os._exit(7)
                os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            request.output(5)
        metering.close()
        print(request.receipt.usage.output_tokens)
        """
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        # gRPC's own handlers sometimes end the child with a fault, where other threads are in a call at the fork.
        env=os.environ | {"GRPC_ENABLE_FORK_SUPPORT": "0"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sentence, receipt = done.stdout.splitlines()
    assert sentence.endswith("start one in each process, after the fork")
    assert receipt == "5"
