"""The client against a metering node on a real gRPC server: decisions, breaks, resumption."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from tallygate.client import (
    ClientSettings,
    Denied,
    MeteringClient,
    Overloaded,
    Unreachable,
    Usage,
)
from tallygate.metering.v1 import decision_pb2, report_pb2
from tests.harness.client.patient import PATIENT
from tests.harness.patience import until
from tests.harness.wire.fake_metering import FakeMetering, serving

SERVICE = "accounts/acme/services/chat"


@pytest.fixture
async def node(handles_max: int) -> AsyncIterator[FakeMetering]:
    """One metering node, which holds the client to the contract."""
    fake = FakeMetering()
    fake.handles_max = handles_max
    async with serving(fake):
        yield fake
    assert not fake.wrong


async def test_a_request_runs_and_its_receipt_says_who_paid(node: FakeMetering) -> None:
    """Authorise, generate within the grant, finish, receipt."""
    async with (
        MeteringClient([node.address], settings=PATIENT) as client,
        client.request(SERVICE, request_id="r1", input_tokens=12, max_output_tokens=50) as request,
    ):
        assert request.free_tokens == 100
        request.output(30)
        request.finish(Usage(input_tokens=12, output_tokens=31), want_receipt=True)
        receipt = await request.wait_recorded()

    assert receipt is not None
    assert (receipt.billed.total_tokens, receipt.cost_nanos) == (43, 7)
    phases = [report.phase for report in node.reports]
    assert phases == [report_pb2.REPORT_PHASE_AUTHORIZE, report_pb2.REPORT_PHASE_FINISH]


async def test_a_denial_says_why(node: FakeMetering) -> None:
    """A refused request raises Denied with reason, sentence and advice, and sends nothing more."""
    node.denials["r1"] = decision_pb2.DECISION_REASON_BUDGET_CONTENDED
    async with MeteringClient([node.address], settings=PATIENT) as client:
        with pytest.raises(Denied) as denied:
            await client.request(SERVICE, request_id="r1", input_tokens=12).authorize()

    denial = denied.value.denial
    assert (denial.reason, denial.message, denial.retryable, denial.retry_after_ms) == (
        "BUDGET_CONTENDED",
        "It may not.",
        True,
        250,
    )
    assert len(node.reports) == 1


async def test_progress_is_said_past_half_of_the_ceiling(node: FakeMetering) -> None:
    """One report past half renews the grant, so that generation never has to wait for it."""
    async with (
        MeteringClient([node.address], settings=PATIENT) as client,
        client.request(SERVICE, request_id="r1", input_tokens=1) as request,
    ):
        for _ in range(60):
            request.output()
            assert request.free_tokens
        await until(lambda: request.grant is not None and request.grant.output_ceiling_tokens == 200)
        said = [r for r in node.reports if r.phase == report_pb2.REPORT_PHASE_PROGRESS]

    assert [report.usage.output_tokens for report in said] == [51]


async def test_at_the_ceiling_it_waits_and_stops_when_the_grant_is_final(
    node: FakeMetering,
) -> None:
    """A server that obeys gets exactly as far as it was allowed to."""
    node.limit = 250
    generated = 0
    async with (
        MeteringClient([node.address], settings=PATIENT) as client,
        client.request(SERVICE, request_id="r1", input_tokens=1) as request,
    ):
        while (free := await request.wait_for_tokens()) > 0:
            generated += min(free, 7)
            request.output(min(free, 7))

    assert generated == 250
    assert node.reports[-1].usage.output_tokens == 250


async def test_an_unasked_stop_reaches_the_request(node: FakeMetering) -> None:
    """A stop of the service shows as must_stop with its reason, and leaves nothing free."""
    async with (
        MeteringClient([node.address], settings=PATIENT) as client,
        client.request(SERVICE, request_id="r1", input_tokens=1) as request,
    ):
        node.streams[0].stop("r1", decision_pb2.DECISION_REASON_SUSPENDED)
        await until(lambda: request.must_stop)
        assert request.denial is not None
        assert request.denial.reason == "SUSPENDED"
        assert await request.wait_for_tokens() == 0


async def test_a_break_resumes_open_requests_and_finishes_that_were_not_durable(
    node: FakeMetering,
) -> None:
    """After a break the latest of each is said on the next stream, with the last grant's token."""
    node.durable = False
    async with MeteringClient([node.address], settings=PATIENT) as client:
        async with client.request(SERVICE, request_id="done", input_tokens=5, receipt=False) as done:
            done.output(9)
        running = client.request(SERVICE, request_id="open", input_tokens=3)
        await running.authorize()
        running.output(20)
        running.report()
        await until(lambda: len(node.reports) == 4)
        node.durable = True
        node.streams[0].hang_up()
        await until(lambda: len(node.streams) == 2 and len(node.streams[1].reports) == 2)
        await done.wait_recorded()
        running.finish(want_receipt=True)
        await running.wait_recorded()

    said = {report.request_id: report for report in node.streams[1].reports[:2]}
    assert said["done"].phase == report_pb2.REPORT_PHASE_FINISH
    assert (said["done"].usage.output_tokens, said["done"].resume) == (9, b"done@100")
    assert said["open"].phase == report_pb2.REPORT_PHASE_PROGRESS
    assert (said["open"].usage.output_tokens, said["open"].resume) == (20, b"open@100")
    assert said["open"].service == SERVICE


async def test_however_often_the_stream_breaks_nothing_is_lost(handles_max: int) -> None:
    """Two nodes that both break at every third message: every finish is committed somewhere, as it was said."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(serving(FakeMetering())) for _ in range(2)]
        for node in nodes:
            node.break_every = 3
            node.handles_max = handles_max
        client = await stack.enter_async_context(MeteringClient([node.address for node in nodes], settings=PATIENT))

        slots = asyncio.Semaphore(4)

        async def run(number: int) -> None:
            metered = client.request(SERVICE, request_id=f"r{number}", input_tokens=number, receipt=False)
            async with slots, metered as request:
                for _ in range(19):
                    request.output()
                    request.report()
                    await asyncio.sleep(0)
                request.finish(Usage(input_tokens=number, output_tokens=20))
            await request.wait_recorded()

        await asyncio.gather(*(run(number) for number in range(60)))

    assert not nodes[0].wrong + nodes[1].wrong
    committed = nodes[0].committed | nodes[1].committed
    assert len(committed) == 60
    assert {(r.usage.input_tokens, r.usage.output_tokens) for r in committed.values()} == {(n, 20) for n in range(60)}
    assert sum(len(node.streams) for node in nodes) > 5


async def test_a_silent_node_is_left_for_another() -> None:
    """A node that says nothing beyond the heartbeat interval is given up, and the next address takes over."""
    async with AsyncExitStack() as stack:
        silent = await stack.enter_async_context(serving(FakeMetering()))
        lively = await stack.enter_async_context(serving(FakeMetering()))
        silent.muted = True
        settings = replace(PATIENT, silence_ms=200)
        client = await stack.enter_async_context(MeteringClient([silent.address, lively.address], settings=settings))
        async with client.request(SERVICE, request_id="r1", input_tokens=1) as request:
            assert request.free_tokens == 100

        # On a busy machine it may find the other one silent, too, and come back.
        assert {report.request_id for report in silent.reports} == {"r1"}
        assert lively.reports[0].request_id == "r1"


async def test_heartbeats_keep_an_idle_stream() -> None:
    """An idle stream says something at every interval and is answered, so it does not break."""
    settings = replace(PATIENT, silence_ms=200)
    async with (
        serving(FakeMetering()) as node,
        MeteringClient([node.address], settings=settings),
    ):
        # Seven intervals are more than a silence may last. Where a busy machine was silent itself, the next one does.
        await until(lambda: any(len(stream.messages) >= 8 for stream in node.streams))

    assert not node.reports


async def test_no_node_at_all_is_unreachable_not_denied() -> None:
    """Nobody answered: the error says so, and the request is forgotten."""
    settings = ClientSettings(answer_ms=100, backoff_base_ms=5, backoff_cap_ms=20)
    async with MeteringClient(["127.0.0.1:1"], settings=settings) as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
            await client.request(SERVICE, request_id="r1", input_tokens=1).authorize()


async def test_what_is_given_up_is_given_back(node: FakeMetering) -> None:
    """A caller that stops waiting for an authorisation leaves no hold behind."""
    node.muted = True
    settings = replace(PATIENT, answer_ms=300)
    async with MeteringClient([node.address], settings=settings) as client:
        await until(lambda: node.streams)
        with pytest.raises(Unreachable):
            await client.request(SERVICE, request_id="r1", input_tokens=12).authorize()
        node.muted = False

    assert node.reports[-1].phase == report_pb2.REPORT_PHASE_FINISH
    assert node.reports[-1].usage.input_tokens == 0


async def test_an_expired_grant_allows_nothing(node: FakeMetering) -> None:
    """Validity runs on the client's own clock, from when the report was sent; the next answer renews it."""
    now_ns = [0]
    async with (
        MeteringClient([node.address], settings=PATIENT, monotonic_ns=lambda: now_ns[0]) as client,
        client.request(SERVICE, request_id="r1", input_tokens=1) as request,
    ):
        assert request.free_tokens == 100
        now_ns[0] = 20_000_000_000
        assert request.free_tokens == 0
        assert await request.wait_for_tokens() == 100


async def test_open_requests_are_bounded(node: FakeMetering) -> None:
    """Beyond the bound a request is refused on the spot instead of growing memory."""
    settings = replace(PATIENT, open_requests_max=1)
    async with (
        MeteringClient([node.address], settings=settings) as client,
        client.request(SERVICE, request_id="r1", input_tokens=1),
    ):
        with pytest.raises(Overloaded):
            await client.request(SERVICE, request_id="r2", input_tokens=1).authorize()


async def test_closing_waits_until_everything_said_is_durable(
    node: FakeMetering,
) -> None:
    """Closing returns only after durable_through has passed the last finish, and else says that it did not."""
    node.durable = False
    settings = replace(PATIENT, close_ms=100)
    client = MeteringClient([node.address], settings=settings)
    client.start()
    async with client.request(SERVICE, request_id="r1", input_tokens=1, receipt=False):
        pass
    with pytest.raises(Unreachable):
        await client.close()


async def test_a_burst_travels_in_few_messages(node: FakeMetering) -> None:
    """Requests that come together are said together."""
    async with MeteringClient([node.address], settings=PATIENT) as client:
        requests = [client.request(SERVICE, request_id=f"r{n}", input_tokens=1) for n in range(500)]
        await asyncio.gather(*(request.authorize() for request in requests))
        for request in requests:
            request.finish()

    assert len(node.reports) == 1_000
    assert len([message for message in node.streams[0].messages if message.reports]) < 20
