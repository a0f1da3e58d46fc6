"""The client's own words against real nodes: an outage that requests outlive, usage that nobody asked for, threads."""

import asyncio
from dataclasses import replace

from tallygate.client import Denied, MeteringClient, Receipt, SyncMeteringClient, Usage
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.one_service import SERVICE, assert_balance, enable, meter_one
from tests.harness.programs.programs import Pair
from tests.harness.programs.requests import on_record

OUTPUT_TOKENS = 20_000


async def test_what_went_on_without_a_node_is_charged_exactly_once_it_is_back(pair: Pair) -> None:
    """One request ends during the outage and one after it; both are in the books to the token."""
    await enable(pair)
    cost = await meter_one(pair.metering, "before")
    address = pair.metering.address
    await pair.metering.stop()
    settings = replace(PATIENT, answer_ms=500, unreachable_tokens_max=2_000, backoff_cap_ms=200)
    async with MeteringClient(address, settings=settings, on_unreachable="allow") as metering:
        async with metering.request(SERVICE, input_tokens=100, receipt=False) as ended:
            ended.output(50)
        async with metering.request(SERVICE, input_tokens=200) as running:
            running.output(70)
            assert metering.connected_to == ""
            await pair.start_node("node-1", address)
            async with asyncio.timeout(PATIENCE_S):
                while running.grant is None and running.denial is None:  # noqa: ASYNC110  # another process answers
                    await asyncio.sleep(0.05)
            # A node that has not found its control service yet says that it cannot tell.
            assert running.denial is None or running.denial.retryable
            running.output(30)
        await on_record(running)
        assert running.receipt is not None
        assert running.receipt.billed == Usage(input_tokens=200, output_tokens=100)
        await on_record(ended)
    await pair.metering.stop()
    cost += (100 + 2 * 50 + 200 + 2 * 100) * 1_000
    await assert_balance(pair, 5_000_000_000 - cost)


async def test_renewals_records_and_threads_add_up(pair: Pair) -> None:
    """A long request of a thread meets no ceiling, and usage recorded without asking is charged as any other."""
    await enable(pair)
    cost = await meter_one(pair.metering, "before")

    def serve() -> tuple[int, int]:
        with SyncMeteringClient(pair.metering.address, settings=PATIENT) as metering:
            record = metering.record(SERVICE, Usage(input_tokens=3, output_tokens=4))
            receipts = [generated(metering)]
            while receipts[-1] is None or receipts[-1].billed.output_tokens < OUTPUT_TOKENS:
                receipts.append(generated(metering))
        assert record.receipt is not None
        return sum(receipt.cost_nanos for receipt in receipts if receipt is not None), record.receipt.cost_nanos

    spent, recorded = await asyncio.to_thread(serve)
    assert recorded == (3 + 8) * 1_000
    assert spent >= (10 + 2 * OUTPUT_TOKENS) * 1_000
    await pair.metering.stop()
    await assert_balance(pair, 5_000_000_000 - cost - spent - recorded)


def generated(metering: SyncMeteringClient) -> Receipt | None:
    """What is charged for a request that was let in, which ends before its time only where the node refuses for now."""
    try:
        with metering.request(SERVICE, input_tokens=10) as request:
            while request.usage.output_tokens < OUTPUT_TOKENS and request.wait_for_tokens():
                request.output(10)
    except Denied as denied:
        if not denied.retryable:
            raise
        return None
    assert request.receipt is not None
    assert request.receipt.overrun_tokens == 0
    if request.receipt.billed.output_tokens != OUTPUT_TOKENS:
        assert request.denial is not None
        assert request.denial.retryable, request.denial
    return request.receipt
