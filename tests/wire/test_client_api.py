"""The client as an inference server writes it, against a metering node on a real gRPC server."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tallygate.client import Denied, MeteringClient, Unreachable, Usage
from tallygate.metering.v1 import decision_pb2, report_pb2
from tests.harness.client.patient import PATIENT
from tests.harness.patience import until
from tests.harness.ports import reserved_port
from tests.harness.wire.fake_metering import FakeMetering, serving

SERVICE = "accounts/acme/services/chat"
HASTY = replace(PATIENT, answer_ms=500, unreachable_tokens_max=400)


@pytest.fixture
async def node() -> AsyncIterator[FakeMetering]:
    """One metering node."""
    async with serving(FakeMetering()) as fake:
        yield fake


async def generate(tokens: int) -> AsyncIterator[int]:
    """A model at work."""
    for token in range(tokens):
        yield token


async def test_a_request_from_its_entry_to_its_receipt(node: FakeMetering) -> None:
    """Entering authorises, leaving finishes and has the receipt: that is all of it."""
    async with MeteringClient(node.address, settings=PATIENT) as metering:
        async with metering.request(SERVICE, input_tokens=812, max_output_tokens=2_000) as request:
            async for _ in generate(40):
                request.output(1)
                if request.must_stop:
                    break
        receipt = request.receipt

    assert receipt is not None
    assert (receipt.usage.input_tokens, receipt.usage.output_tokens, receipt.cost_nanos) == (812, 40, 7)
    assert metering.open_requests == 0


async def test_what_a_request_says_of_itself(node: FakeMetering) -> None:
    """Limits, labels, the end user's address and the hash of the key travel along; without a key, the client's."""
    async with MeteringClient(node.address, settings=PATIENT, credential="the-server") as metering:
        one = metering.request(
            SERVICE, input_tokens=1, cached_input_tokens=2, cache_write_tokens=3, max_output_tokens=9,
            credential="key-1", source_address="192.0.2.7", labels={"team": "search"},
        )  # fmt: skip
        async with one, metering.request(SERVICE):
            assert metering.connected_to == node.address

    said, other = node.reports[:2]
    assert (said.usage.input_tokens, said.usage.cached_input_tokens, said.usage.cache_write_tokens) == (1, 2, 3)
    assert (said.max_output_tokens, said.source_address) == (9, "192.0.2.7")
    assert (said.credential, said.credential_sha256) == ("", hashlib.sha256(b"key-1").digest())
    assert dict(said.labels) == {"team": "search"}
    assert other.credential_sha256 == hashlib.sha256(b"the-server").digest()
    assert not other.HasField("max_output_tokens")


async def test_generation_never_waits_for_a_renewal(node: FakeMetering) -> None:
    """Where a token takes longer than a round trip, as it does, no grant is ever used up."""
    least = 100
    async with (
        MeteringClient(node.address, settings=PATIENT) as metering,
        metering.request(SERVICE) as request,
    ):
        for _ in range(1_000):
            request.output()
            least = min(least, request.free_tokens)
            await until(lambda: metering._session.outbox.is_answered(request._state))

    assert least >= 49
    progress = [report for report in node.reports if report.phase == report_pb2.REPORT_PHASE_PROGRESS]
    assert len(progress) < 25


async def test_leaving_after_an_error_does_not_wait(node: FakeMetering) -> None:
    """The counts are said as an estimate, and the error goes on its way."""
    node.durable = False
    async with MeteringClient(node.address, settings=PATIENT) as metering:
        with pytest.raises(RuntimeError, match="model"):
            async with metering.request(SERVICE, input_tokens=5) as request:
                request.output(3)
                raise RuntimeError("the model fell over")
        assert request.receipt is None
        await until(lambda: node.reports[-1].phase == report_pb2.REPORT_PHASE_FINISH)
        node.durable = True

    assert (node.reports[-1].estimated, node.reports[-1].usage.output_tokens) == (True, 3)


async def test_leaving_waits_for_the_receipt_for_a_bounded_time(node: FakeMetering) -> None:
    """A node whose database stalls keeps nobody; the finish is said on until it is on record."""
    node.durable = False
    async with MeteringClient(node.address, settings=replace(PATIENT, receipt_ms=30)) as metering:
        async with metering.request(SERVICE, input_tokens=5) as request:
            request.output(3)
        assert request.receipt is None
        node.durable = True
        node.streams[0].hang_up()
        await request.wait_recorded()

    assert request.receipt is not None
    assert node.committed[request.request_id].usage.output_tokens == 3


async def test_usage_is_recorded_without_asking_first(node: FakeMetering) -> None:
    """Record is a finish by itself; the receipt says who paid."""
    async with MeteringClient(node.address, settings=PATIENT) as metering:
        record = await metering.record(
            SERVICE, Usage(input_tokens=7, output_tokens=2), request_id="done", estimated=True
        )

    (said,) = node.reports
    assert (said.request_id, said.phase, said.estimated) == ("done", report_pb2.REPORT_PHASE_FINISH, True)
    assert record.receipt is not None
    assert (record.request_id, record.receipt.usage.total_tokens, record.denial) == ("done", 9, None)


@pytest.mark.parametrize("reason", ["SUSPENDED", "TOO_OLD", "UNKNOWN_SERVICE"])
async def test_a_recorded_denial_is_no_loss_and_a_refused_record_is(node: FakeMetering, reason: str) -> None:
    """That the service may not go on is said beside the record; that the counts were not taken is an error."""
    node.denials["done"] = decision_pb2.DecisionReason.Value(f"DECISION_REASON_{reason}")
    async with MeteringClient(node.address, settings=PATIENT) as metering:
        if reason != "SUSPENDED":
            with pytest.raises(Denied, match=reason):
                await metering.record(SERVICE, Usage(input_tokens=7), request_id="done")
            return
        record = await metering.record(SERVICE, Usage(input_tokens=7), request_id="done")

    assert record.denial is not None
    assert record.denial.reason == reason


async def test_without_a_node_it_says_unreachable_and_when_to_come_back() -> None:
    """Not knowing is another error than a refusal, with the same attributes."""
    async with MeteringClient("127.0.0.1:1", settings=HASTY) as metering:
        with pytest.raises(Unreachable) as unreachable:
            async with metering.request(SERVICE):
                pass
        assert metering.open_requests == 0

    error = unreachable.value
    assert (error.reason, error.retryable, error.retry_after_ms) == ("UNREACHABLE", True, 20)
    assert "127.0.0.1:1" in error.message


async def test_allowed_without_a_node_and_recorded_once_it_is_back() -> None:
    """Requests go on for a bounded number of tokens; every one of them is on record soon after the outage."""
    fake = FakeMetering()
    with reserved_port() as fake.port:
        await _outlast_an_outage(fake)


async def _outlast_an_outage(fake: FakeMetering) -> None:
    async with MeteringClient(fake.address, settings=HASTY, on_unreachable="allow") as metering:
        async with metering.request(SERVICE, input_tokens=100, receipt=False) as first:
            first.output(30)
            with pytest.raises(Unreachable):
                async with metering.request(SERVICE, input_tokens=1_000):
                    pass
        async with metering.request(SERVICE, input_tokens=10, receipt=False) as second:
            while not second.must_stop:
                second.output()
        async with serving(fake):
            await until(lambda: metering.open_requests == 0)

    assert (second.usage.output_tokens, second.denial) == (400 - 130 - 10, None)
    recorded = {id_: (r.usage.input_tokens, r.usage.output_tokens) for id_, r in fake.committed.items()}
    assert recorded == {first.request_id: (100, 30), second.request_id: (10, 260)}


async def test_a_request_that_began_without_a_node_is_taken_on_by_one() -> None:
    """Once a node is back it authorises what runs, and has the last word from then on."""
    fake = FakeMetering()
    fake.limit = 150
    with reserved_port() as fake.port:
        await _begin_without(fake)


async def _begin_without(fake: FakeMetering) -> None:
    async with (
        MeteringClient(fake.address, settings=HASTY, on_unreachable="allow") as metering,
        metering.request(SERVICE, input_tokens=100) as request,
    ):
        request.output(30)
        assert request.grant is None
        async with serving(fake):
            await until(lambda: request.grant)
            metering._session.allowance._answer_ns = PATIENT.answer_ms * 1_000_000
            while await request.wait_for_tokens():
                request.output()
            assert request.must_stop
            request.finish()
            await request.wait_recorded()

    assert request.receipt is not None
    assert request.receipt.usage.output_tokens == 150


@pytest.mark.parametrize(
    "options",
    [
        {"credential": "x" * 5_000_000},
        {"labels": {"team": "x" * 5_000_000}},
        {"source_address": "x" * 5_000_000},
        {"request_id": "x" * 5_000_000},
        {"labels": {"team": "\ud800"}},
        {"input_tokens": 1 << 70},
        {"max_output_tokens": -1},
    ],
)
async def test_a_request_that_no_node_would_take_is_denied_and_harms_no_other(
    node: FakeMetering, options: dict[str, Any]
) -> None:
    """It is never sent: the stream goes on, and so does what comes after it."""
    async with MeteringClient(node.address, settings=PATIENT) as metering, metering.request(SERVICE) as running:
        with pytest.raises(Denied) as denied:
            await metering.request(SERVICE, **options).authorize()
        assert denied.value.reason == "INVALID_REPORT"
        running.output(60)
        async with metering.request(SERVICE, request_id="next"):
            pass
        assert (metering.disconnects, metering.open_requests) == (0, 1)
    assert {report.request_id for report in node.reports} >= {"next"}
    assert all(len(report.SerializeToString()) < 1_000 for report in node.reports)


async def test_usage_that_no_node_would_take_is_not_recorded(node: FakeMetering) -> None:
    """Nor is anything else held up by it."""
    async with MeteringClient(node.address, settings=PATIENT) as metering:
        with pytest.raises(Denied, match="credential"):
            await metering.record(SERVICE, Usage(output_tokens=1), credential="x" * 5_000_000)
        with pytest.raises(ValueError, match="no whole number"):
            await metering.record(SERVICE, Usage(output_tokens=1 << 80))
        await metering.record(SERVICE, Usage(output_tokens=1), request_id="good")
    assert set(node.committed) == {"good"}
    assert metering.disconnects == 0


async def test_counts_that_cannot_be_said_change_nothing(node: FakeMetering) -> None:
    """The error is raised where they are given; the request goes on with those that it had, also on another stream."""
    async with MeteringClient(node.address, settings=PATIENT) as metering:
        async with metering.request(SERVICE, request_id="r1") as request:
            request.output(5)
            for give in (request.set_usage, request.finish):
                with pytest.raises(ValueError, match="no whole number"):
                    give(Usage(output_tokens=1 << 80))
            node.streams[0].hang_up()
            await until(lambda: len(node.streams) > 1)
        await until(lambda: "r1" in node.committed)
    assert node.committed["r1"].usage.output_tokens == 5
