"""A node that is killed and never comes back: its clients go on at once, and another node settles what it left."""

import asyncio

import grpc

from tallygate._server.process.run import EXIT_SUPERSEDED
from tallygate.client import MeteringClient
from tallygate.control.v1 import (
    lifecycle_service_pb2,
    lifecycle_service_pb2_grpc,
    limit_config_pb2,
    limit_service_pb2,
    limit_service_pb2_grpc,
    operations_service_pb2,
    operations_service_pb2_grpc,
)
from tallygate.metering.v1 import decision_pb2, metering_service_pb2, metering_service_pb2_grpc, report_pb2
from tests.harness.client.patient import PATIENT
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.one_service import SERVICE, assert_balance, enable, meter_one
from tests.harness.programs.programs import Pair, Program
from tests.harness.programs.requests import answered, begun

LIMITED = "accounts/acme/services/limited"
RESUME_WINDOW_MS = 30_000


async def open_leases(pair: Pair, node: str) -> int:
    """How many leases control still has out with a node."""
    async with grpc.aio.insecure_channel(pair.control.address) as channel:
        stub = operations_service_pb2_grpc.OperationsServiceStub(channel)
        request = operations_service_pb2.ListLeasesRequest(account="accounts/acme", node=node)
        return len((await stub.ListLeases(request)).leases)


async def make_limited(pair: Pair) -> None:
    """A service that runs one request at once."""
    async with grpc.aio.insecure_channel(pair.control.address) as channel:
        service = lifecycle_service_pb2.CreateInferenceServiceRequest(
            name=LIMITED,
            model="models/llama",
            billing=lifecycle_service_pb2.InitialBilling(enable_postpaid=True),
        )
        await lifecycle_service_pb2_grpc.LifecycleServiceStub(channel).CreateInferenceService(service)
        rule = limit_service_pb2.CreateRateRuleRequest(
            name="accounts/acme/rateRules/one",
            place=LIMITED,
            metric=limit_config_pb2.RATE_METRIC_CONCURRENT_REQUESTS,
            limit_units=1,
        )
        await limit_service_pb2_grpc.LimitServiceStub(channel).CreateRateRule(rule)


async def begin_limited(node: Program, request_id: str) -> decision_pb2.Decision:
    """What becomes of a request of that service, which stays open if it is allowed, and costs nothing."""
    report = report_pb2.TokenReport(
        request_id=request_id, service=LIMITED, phase=report_pb2.REPORT_PHASE_AUTHORIZE, max_output_tokens=0
    )
    async with grpc.aio.insecure_channel(node.address) as channel:
        stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        authorize = metering_service_pb2.AuthorizeRequest(report=report)
        return (await answered(lambda: stub.Authorize(authorize))).decision


async def limited_begins(node: Program, name: str) -> list[int]:
    """Asks until a request of that service begins; the times in milliseconds after which to ask again."""
    told_ms: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        while (said := await begin_limited(node, f"{name}-{len(told_ms)}")).verdict != decision_pb2.VERDICT_ALLOW:
            assert said.retryable, said
            told_ms.append(said.retry_after.ToMilliseconds())
            await asyncio.sleep(0.5)
    return told_ms


async def test_a_killed_node_that_never_returns_is_settled_by_another(pair: Pair) -> None:
    """Requests go on elsewhere as soon as the connection breaks; its leases come back, and the books are exact.

    Who waits for a slot that the node had is told when it comes back at the earliest.
    """
    await enable(pair)
    await make_limited(pair)
    second = await pair.start_node("node-2")
    costs = [await meter_one(pair.metering, "before"), await meter_one(second, "there")]
    async with MeteringClient([pair.metering.address, second.address], settings=PATIENT) as client:
        await limited_begins(pair.metering, "first")
        request = await begun(client, SERVICE, request_id="moves", input_tokens=100)
        request.output(5)
        request.report()
        assert await open_leases(pair, "node-1") > 0
        await pair.metering.kill()
        after = await begun(client, SERVICE, request_id="new", input_tokens=100)
        after.output(1)
        request.output(5)
        for each in (after, request):
            each.finish()
            await each.wait_recorded()
    costs += [100 * 1_000 + 10 * 2_000, 100 * 1_000 + 2_000]
    assert 1_000 < max(await limited_begins(second, "second")) <= RESUME_WINDOW_MS
    async with asyncio.timeout(PATIENCE_S):
        while await open_leases(pair, "node-1"):  # noqa: ASYNC110  # it is another process that we wait for
            await asyncio.sleep(0.5)
    await second.stop()
    await assert_balance(pair, 5_000_000_000 - sum(costs))


async def test_of_two_processes_with_one_name_the_older_ends_and_says_so(pair: Pair) -> None:
    """The newer one has the name; the older one's last line says which epochs there are, and what to do."""
    await enable(pair)
    await meter_one(pair.metering, "before")
    older = pair.metering
    newer = await pair.start_node("node-1")
    code = await asyncio.wait_for(older.process.wait(), PATIENCE_S)
    assert code == EXIT_SUPERSEDED
    last = older.log.read_text().splitlines()[-1]
    assert "Another process runs as node node-1" in (pair.directory / "node-1.log").read_text()
    assert "Traceback" not in last
    assert await meter_one(newer, "after") == 100_000
