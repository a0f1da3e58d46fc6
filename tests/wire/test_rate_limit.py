"""The rate-limit services as gateways call them, before a node that does as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import grpc
import pytest

from tallygate.client import ClientSettings, MeteringClient
from tallygate.integrations.ratelimit import open_requests
from tallygate.integrations.ratelimit import rate_limit_pb2 as wire
from tallygate.integrations.services import key_sha256
from tallygate.metering.v1 import decision_pb2, report_pb2
from tests.harness.patience import until
from tests.harness.wire.fake_metering import FakeMetering
from tests.harness.wire.rate_limits import SERVICE, Gateway, descriptor, gateway, headers_of, usage

OK, OVER_LIMIT = wire.OK, wire.OVER_LIMIT
R = {"service": SERVICE, "request_id": "r1"}
NAMELESS = {"service": SERVICE}


@pytest.fixture
async def edge(client: MeteringClient) -> AsyncIterator[Gateway]:
    async with gateway(client) as edge:
        yield edge


async def test_a_request_is_let_through_and_counted_once(node: FakeMetering, edge: Gateway) -> None:
    """The count finishes what the gate has opened; said again it changes nothing, and nothing stays behind."""
    gate = await edge.ask(R)
    assert gate.overall_code == OK
    assert [status.code for status in gate.statuses] == [OK]
    assert gate.dynamic_metadata["service"] == SERVICE
    assert len(edge.requests) == 1
    for _ in range(3):
        assert (await edge.ask(R, 70)).overall_code == OK
    assert usage(node) == (0, 70, False)
    assert {report.request_id for report in node.reports} == {"r1"}
    assert not len(edge.requests)
    assert edge.alarms.waiting == []


async def test_kinds_are_counted_by_descriptor(node: FakeMetering, edge: Gateway) -> None:
    """Of one kind the greatest number; what has no number of its own has that of the call."""
    await edge.ask(R)
    tokens = [(30, "input"), (20, "output"), (25, "output"), (None, "reasoning")]
    descriptors = [descriptor(count, {**R, "kind": kind}) for count, kind in tokens]
    await edge.should(wire.RateLimitRequest(domain="gateway", descriptors=descriptors, hits_addend=9))
    assert usage(node) == (30, 25, False)
    assert node.committed["r1"].usage.reasoning_tokens == 9


async def test_a_count_without_a_gate_is_recorded(node: FakeMetering, edge: Gateway) -> None:
    """So is one whose request has no id, each by itself."""
    await edge.ask(R, 11)
    await edge.ask(NAMELESS, 12)
    await edge.ask(NAMELESS, 12)
    assert {request_id: finish.usage.output_tokens for request_id, finish in node.committed.items()} == {
        "r1": 11,
        "made-1": 12,
        "made-2": 12,
    }


async def test_gates_of_one_request_are_one(node: FakeMetering, edge: Gateway) -> None:
    """A call that is repeated while it waits gets the same answer, and the request is authorised once."""
    gates = await asyncio.gather(*(edge.ask(R) for _ in range(5)))
    assert {gate.overall_code for gate in gates} == {OK}
    assert [report.phase for report in node.reports] == [report_pb2.REPORT_PHASE_AUTHORIZE]


async def test_a_caller_who_hangs_up_leaves_the_request_open(node: FakeMetering, edge: Gateway) -> None:
    """Its gateway may let it through all the same: what it used is counted to it."""
    node.muted = True
    asking = asyncio.create_task(edge.ask(R))
    await until(lambda: node.reports)
    asking.cancel()
    node.muted = False
    counted = asyncio.create_task(edge.ask(R, 5))
    node.streams[-1].hang_up()
    assert (await counted).overall_code == OK
    assert usage(node) == (0, 5, False)


async def test_a_refusal_says_why(node: FakeMetering, edge: Gateway) -> None:
    """In headers and body as clients of the API know them, in the metadata for a gateway; nothing stays open."""
    node.denies_all = decision_pb2.DECISION_REASON_BUDGET_CONTENDED
    answer = await edge.ask(R)
    assert answer.overall_code == OVER_LIMIT
    said = headers_of(answer)
    assert said["x-tallygate-reason"] == "budget_contended"
    assert said["retry-after"] == "1"
    assert said["x-ratelimit-remaining-tokens"] == "0"
    assert "content-length" not in said
    assert json.loads(answer.raw_body)["error"]["code"] == "budget_contended"
    assert answer.dynamic_metadata["status"] == 429
    assert not len(edge.requests)


async def test_clients_do_not_repeat_in_vain(edge: Gateway) -> None:
    """The gateway's status is 429, which clients try again unless they are told not to."""
    for answer in (await edge.ask({}), await edge.ask({"key": "sk-1", "request_id": "r2"})):
        assert headers_of(answer)["x-should-retry"] == "false"
        assert "retry-after" not in headers_of(answer)


async def test_figures_of_a_rate_rule_go_along(node: FakeMetering, edge: Gateway) -> None:
    """They are those of the rule that is nearest to its limit."""
    node.rate = decision_pb2.RateStatus(
        rate_rule="rules/1", place=SERVICE, metric="REQUESTS", limit_units=60, remaining_units=59
    )
    said = headers_of(await edge.ask(R))
    assert said == {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59"}


async def test_a_key_leads_to_its_service(node: FakeMetering, edge: Gateway) -> None:
    """As a bearer shows it; it leaves as a hash, and the count goes where the gate went."""
    node.services[key_sha256("sk-1")] = SERVICE
    request = {"key": "Bearer sk-1", "model": "llama", "request_id": "r1"}
    asked = descriptor(None, request)
    asked.entries.add(key="remote_address", value="10.0.0.1")
    gate = await edge.should(wire.RateLimitRequest(domain="gateway", descriptors=[asked]))
    assert gate.dynamic_metadata["service"] == SERVICE
    await edge.ask(request, 4)
    assert usage(node) == (0, 4, False)
    assert (node.reports[0].model, node.reports[0].source_address) == ("llama", "10.0.0.1")
    assert "sk-1" not in str(node.reports)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, "No descriptor has tallygate_service or tallygate_key"),
        ({"service": SERVICE}, "No descriptor has tallygate_request_id"),
        ({**R, "modle": "llama"}, "write tallygate_model"),
        ({**R, "kind": "outputs"}, "tallygate_kind is 'outputs'"),
        ({**R, "kind": "output"}, "Envoy ignores it in rate_limits of a route"),
    ],
)
async def test_descriptors_that_cannot_be_used_let_nothing_through(
    edge: Gateway, caplog: pytest.LogCaptureFixture, entries: dict[str, str], said: str
) -> None:
    """The answer names the key, and so does the log, once: of a gateway that is set up wrongly every request is."""
    for _ in range(2):
        answer = await edge.ask(entries)
        assert answer.overall_code == OVER_LIMIT
        assert headers_of(answer)["x-tallygate-reason"] == "invalid_descriptor"
        assert said in json.loads(answer.raw_body)["error"]["message"]
    assert caplog.text.count(said) == 1


async def test_no_descriptor_is_no_leave(edge: Gateway) -> None:
    """A call without any lets nothing through either."""
    answer = await edge.should(wire.RateLimitRequest(domain="gateway"))
    assert answer.overall_code == OVER_LIMIT


async def test_numbers_that_cannot_be_are_not_counted(node: FakeMetering, edge: Gateway) -> None:
    """The greatest that can be is; a negative number is a very great one on the wire."""
    await edge.ask(R)
    for count in (100_000_001, 2**64 - 5):
        assert (await edge.ask(R, count)).overall_code == OVER_LIMIT
    assert node.committed == {}
    assert (await edge.ask(R, 100_000_000)).overall_code == OK
    assert usage(node) == (0, 100_000_000, False)


async def test_a_request_id_of_two_payers(node: FakeMetering, edge: Gateway) -> None:
    """The second is refused; what it used all the same is recorded, under an id of its own."""
    await edge.ask(R)
    other = {**R, "service": "accounts/other/services/chat"}
    refused = await edge.ask(other)
    assert headers_of(refused)["x-tallygate-reason"] == "request_id_reused"
    await edge.ask(other, 8)
    await edge.ask(R, 5)
    assert usage(node, "made-1") == (0, 8, False)
    assert usage(node) == (0, 5, False)


async def test_a_gate_that_nobody_counts_times_out(node: FakeMetering, edge: Gateway) -> None:
    """Nothing is recorded of it but that it ran; what is said of it later is recorded all the same."""
    await edge.ask(R)
    edge.alarms.ring()
    await until(lambda: node.committed)
    assert usage(node) == (0, 0, True)
    assert not len(edge.requests)
    await edge.ask(R, 9)
    assert usage(node) == (0, 9, False)


async def test_the_oldest_gate_makes_room(node: FakeMetering, edge: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that nobody counts cannot keep others out; reservations are kept."""
    monkeypatch.setattr(open_requests, "OPEN_MAX", 2)
    await edge.reserve({**R, "request_id": "held"}, 50)
    for number in range(3):
        assert (await edge.ask({**R, "request_id": f"r{number}"})).overall_code == OK
    await until(lambda: len(node.committed) == 2)
    assert sorted(node.committed) == ["r0", "r1"]


async def test_kuadrants_check_and_report(node: FakeMetering, edge: Gateway) -> None:
    """A check lets through, whatever it counts; a report ends it, also one of nothing."""
    assert (await edge.kuadrant("CheckRateLimit", R, 3)).overall_code == OK
    assert node.committed == {}
    assert (await edge.kuadrant("Report", R, 21)).overall_code == OK
    assert usage(node) == (0, 21, False)
    again = {**R, "request_id": "r2"}
    await edge.kuadrant("CheckRateLimit", again)
    assert (await edge.kuadrant("Report", again, 0)).overall_code == OK
    assert usage(node, "r2") == (0, 0, False)


async def test_a_greater_count_is_not_lost_behind_a_smaller_one(node: FakeMetering, edge: Gateway) -> None:
    """Though that is not on record yet."""
    await edge.ask(R)
    node.durable = False
    counting = [asyncio.create_task(edge.ask(R, 70))]
    await until(lambda: node.reports[-1].phase == report_pb2.REPORT_PHASE_FINISH)
    counting.append(asyncio.create_task(edge.ask(R, 90)))
    node.durable = True
    assert {answer.overall_code for answer in await asyncio.gather(*counting)} == {OK}
    assert usage(node) == (0, 90, False)


async def test_without_a_node_nothing_passes_and_nothing_is_called_recorded() -> None:
    """A gate is refused, with when to come back; a commit fails in a way that callers repeat."""
    settings = ClientSettings(answer_ms=50, close_ms=50)
    client = MeteringClient("127.0.0.1:1", settings=settings)
    client.start()
    async with gateway(client) as edge:
        answer = await edge.ask(R)
        assert answer.overall_code == OVER_LIMIT
        assert headers_of(answer)["x-tallygate-reason"] == "unreachable"
        assert headers_of(answer)["retry-after"] == "2"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await edge.commit(NAMELESS, "", 5)
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    with pytest.raises(Exception, match="no metering node"):
        await client.close()
