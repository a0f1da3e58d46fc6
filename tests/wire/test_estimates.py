"""A server that estimates while it streams, over the wire, with the client that it would use."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.records import RequestRecord, RequestState
from metering_service.domain.service import Status
from metering_service.usecases.lookups.lookups import every
from tallygate.client import ClientSettings, MeteringClient, Usage
from tests.harness.metering.node_harness import Fleet
from tests.harness.metering.services import SERVICE, with_money
from tests.harness.wire.metering_node import NodeServing, serving_node

SETTINGS = ClientSettings(answer_ms=60_000, receipt_ms=60_000, silence_ms=60_000)
BEAT_S = 0.01


@pytest.fixture
def fleet() -> Fleet:
    """One node; its service has plenty of money."""
    return Fleet()


@pytest.fixture
async def node(fleet: Fleet) -> AsyncIterator[NodeServing]:
    """It listens, and commits as time passes."""

    def beat() -> None:
        fleet.run(ms=20)

    async with serving_node(fleet["a"]) as serving:
        time = asyncio.create_task(every(BEAT_S, beat))
        yield serving
        time.cancel()


def the_record(fleet: Fleet) -> RequestRecord:
    (record,) = fleet.database.requests.values()
    return record


async def test_a_finish_replaces_the_pieces_that_were_counted(fleet: Fleet, node: NodeServing) -> None:
    """2,000 pieces were 12 tokens: that is what is paid, nothing is overrun, and nothing else is held."""
    with_money(fleet, 1_000_000)
    async with MeteringClient(node.address, settings=SETTINGS) as metering:
        async with metering.request(SERVICE, input_tokens=100, estimated=True) as request:
            for _ in range(200):
                assert await request.wait_for_tokens()
                request.output(10)
            request.finish(Usage(input_tokens=90, output_tokens=12))
        receipt = request.receipt
    assert receipt is not None
    assert (receipt.usage.total_tokens, receipt.cost_nanos, receipt.overrun_tokens) == (102, 102, 0)
    record = the_record(fleet)
    assert (record.counts, record.estimated, record.state) == (
        Counts(90, output=12),
        False,
        RequestState.FINISHED,
    )
    assert all(pool.held == 0 for pool in fleet["a"].node.services[SERVICE].leases.values())


async def test_without_better_counts_the_pieces_are_booked(fleet: Fleet, node: NodeServing) -> None:
    """And the record says that they are an estimate."""
    with_money(fleet, 1_000_000)
    async with (
        MeteringClient(node.address, settings=SETTINGS) as metering,
        metering.request(SERVICE, input_tokens=100, estimated=True) as request,
    ):
        request.output(30)
    record = the_record(fleet)
    assert (record.receipt.usage, record.estimated) == (Counts(100, output=30), True)


async def test_what_nobody_authorised_of_a_deleted_service_is_unfunded(fleet: Fleet, node: NodeServing) -> None:
    """It is recorded, and no denial comes with its receipt."""
    config = with_money(fleet, 1_000_000)
    fleet.control.put(replace(config, status=Status.DELETED, postpaid_pays=False, debt_allowed=False))
    async with MeteringClient(node.address, settings=SETTINGS) as metering:
        record = await metering.record(SERVICE, Usage(input_tokens=7, output_tokens=2))
    assert record.denial is None
    assert record.receipt is not None
    assert (record.receipt.unfunded.total_tokens, record.receipt.debt_nanos) == (9, 0)
