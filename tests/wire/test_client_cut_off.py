"""The client at a node that something is cut off from: it asks another node before a request is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from tallygate.client import ClientSettings, Denied, MeteringClient
from tallygate.metering.v1 import decision_pb2
from tests.harness.patience import until
from tests.harness.wire.fake_metering import FakeMetering, serving

SERVICE = "accounts/acme/services/chat"
SETTINGS = ClientSettings(answer_ms=120_000, silence_ms=120_000, backoff_base_ms=5)
CUT_OFF = (decision_pb2.DECISION_REASON_CONTROL_UNREACHABLE, decision_pb2.DECISION_REASON_STORAGE_UNAVAILABLE)
ALLOWED = ("ALLOW", "")


@pytest.fixture
async def nodes() -> AsyncIterator[Sequence[FakeMetering]]:
    """Two nodes; the client goes to the first one."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(serving(FakeMetering())) for _ in range(2)]
        yield nodes
        assert not any(node.wrong for node in nodes)


def client_of(nodes: Sequence[FakeMetering]) -> MeteringClient:
    """One that knows these nodes."""
    return MeteringClient([node.address for node in nodes], settings=SETTINGS)


@pytest.mark.parametrize("reason", CUT_OFF)
async def test_another_node_is_asked(
    nodes: Sequence[FakeMetering], reason: decision_pb2.DecisionReason.ValueType
) -> None:
    """Nothing is refused, and what runs goes on at the other node."""
    first, second = nodes
    async with client_of(nodes) as client, client.request(SERVICE, input_tokens=1) as running:
        first.denies_all = reason
        async with client.request(SERVICE, input_tokens=1):
            assert client.connected_to == second.address
        running.output(90)
        assert await running.wait_for_tokens() > 0
    assert client.verdicts == {ALLOWED: 2}
    assert (len(first.streams), len(second.streams)) == (1, 1)


async def test_where_all_are_cut_off_each_is_asked_once(nodes: Sequence[FakeMetering]) -> None:
    """Then it is refused by the one that was left, and so is the next request, at once."""
    for node in nodes:
        node.denies_all = CUT_OFF[0]
    async with client_of(nodes) as client:
        for _ in range(2):
            with pytest.raises(Denied) as denied:
                await client.request(SERVICE, input_tokens=1).authorize()
            assert denied.value.reason == "CONTROL_UNREACHABLE"
            assert client.connected_to == nodes[0].address
    assert [len(node.streams) for node in nodes] == [2, 1]


async def test_what_goes_on_at_a_node_that_is_cut_off_is_not_left_elsewhere(nodes: Sequence[FakeMetering]) -> None:
    """Where the others know no better: only there are tokens for an outage on lease."""
    first, second = nodes
    first.denials["another"] = second.denies_all = CUT_OFF[0]
    async with client_of(nodes) as client, client.request(SERVICE, input_tokens=1) as running:
        with pytest.raises(Denied):
            await client.request(SERVICE, request_id="another", input_tokens=1).authorize()
        async with client.request(SERVICE, input_tokens=1):
            running.output(90)
            assert await running.wait_for_tokens() > 0
        assert client.connected_to == first.address
    assert [len(node.streams) for node in nodes] == [2, 1]


async def test_what_runs_is_not_denied_on_the_way(nodes: Sequence[FakeMetering]) -> None:
    """At the end of its grant, while the others are asked for what has not begun."""
    first, second = nodes
    second.denies_all = CUT_OFF[0]
    async with client_of(nodes) as client, client.request(SERVICE, input_tokens=1) as running:
        first.muted = True
        running.output(100)
        await until(lambda: len(first.reports) == 2)
        first.denials["another"], first.muted = CUT_OFF[0], False
        with pytest.raises(Denied):
            await client.request(SERVICE, request_id="another", input_tokens=1).authorize()
        assert await running.wait_for_tokens() > 0
    assert [len(node.streams) for node in nodes] == [2, 1]


async def test_a_node_that_does_not_answer_is_no_other_node(nodes: Sequence[FakeMetering]) -> None:
    """Which the client has found out just now; so it stays where it is."""
    first, second = nodes
    async with client_of([FakeMetering(), second]) as client:
        await until(lambda: client.connected_to == second.address)
        second.denies_all = CUT_OFF[0]
        with pytest.raises(Denied):
            await client.request(SERVICE, input_tokens=1).authorize()
    assert (len(first.streams), len(second.streams)) == (0, 1)


async def test_what_is_refused_elsewhere_as_well_is_refused_at_once(nodes: Sequence[FakeMetering]) -> None:
    """Only what a node could not tell is asked again."""
    nodes[0].denies_all = decision_pb2.DECISION_REASON_ACCOUNT_OVERDUE
    async with client_of(nodes) as client:
        with pytest.raises(Denied):
            await client.request(SERVICE, input_tokens=1).authorize()
    assert [len(node.streams) for node in nodes] == [1, 0]
