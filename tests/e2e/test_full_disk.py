"""A disk that fills up under the services, and has space again."""

import asyncio

import grpc
import pytest

from tallygate.client import MeteringClient
from tallygate.control.v1 import account_service_pb2, account_service_pb2_grpc
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S, until_found
from tests.harness.programs.one_service import SERVICE, assert_balance, enable, meter_one
from tests.harness.programs.programs import Pair
from tests.harness.programs.requests import begun

FULL_S = 3.0
"""Length of the look at what must not happen."""


async def refuses_money(pair: Pair) -> bool:
    """Whether control cannot write: it says so, and a top-up is not booked."""
    async with grpc.aio.insecure_channel(pair.control.address) as channel:
        stub = account_service_pb2_grpc.AccountServiceStub(channel)
        try:
            await stub.TopUpAccount(account_service_pb2.TopUpAccountRequest(name="accounts/acme", amount_nanos=1))
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


@pytest.mark.parametrize("full", ["control", "node-1"])
async def test_a_full_disk_loses_nothing(pair: Pair, full: str) -> None:
    """Decisions go on, receipts of the node wait, and with the first space all is durable; no hand is needed."""
    await enable(pair)
    costs = [await meter_one(pair.metering, "before")]
    program = pair.programs[full]
    async with MeteringClient([pair.metering.address], settings=PATIENT) as client:
        running = await begun(client, SERVICE, request_id="running", input_tokens=100)
        with program.disk_full():
            begins = await begun(client, SERVICE, request_id="begins", input_tokens=100)
            for request in (running, begins):
                request.output(5)
                request.report()
                request.finish(want_receipt=True)
            waits = [asyncio.create_task(request.wait_recorded()) for request in (running, begins)]
            if full == "control":
                await asyncio.wait(waits, timeout=PATIENCE_S)
                await until_found(lambda: refuses_money(pair))
            else:
                await asyncio.wait(waits, timeout=FULL_S)
            assert all(task.done() == (full == "control") for task in waits)
        async with asyncio.timeout(PATIENCE_S):
            receipts = await asyncio.gather(*waits)
        costs += [receipt.cost_nanos for receipt in receipts if receipt is not None]
    costs.append(await meter_one(pair.metering, "after"))
    assert costs == [100_000, 110_000, 110_000, 100_000]
    await pair.metering.stop()
    await assert_balance(pair, 5_000_000_000 - sum(costs))
