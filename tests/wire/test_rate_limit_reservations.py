"""Reservations as gateways make them, before a node that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.ratelimit import open_requests
from tallygate.integrations.ratelimit import rate_limit_pb2 as wire
from tallygate.metering.v1 import decision_pb2, report_pb2
from tests.harness.client.patient import PATIENT
from tests.harness.patience import until
from tests.harness.wire.fake_metering import FakeMetering
from tests.harness.wire.rate_limits import SERVICE, Gateway, descriptor, gateway, usage

OK, OVER_LIMIT = wire.OK, wire.OVER_LIMIT
R = {"service": SERVICE, "request_id": "r1"}
NAMELESS = {"service": SERVICE}


@pytest.fixture
async def edge(client: MeteringClient) -> AsyncIterator[Gateway]:
    async with gateway(client) as edge:
        yield edge


def shared_out(node: FakeMetering) -> tuple[int, ...]:
    """Output tokens in both records of a reservation that was renewed for more."""
    return tuple(node.committed[request_id].usage.output_tokens for request_id in ("r1", "r1.2"))


async def test_a_reservation_is_held_as_a_whole(node: FakeMetering, edge: Gateway) -> None:
    """All of it or none; said to the node as an estimate at once, which the commit replaces."""
    node.step = node.limit = 80
    held = await edge.reserve(R, 80, 30)
    assert (held.code, held.reservation_id) == (OK, f"{SERVICE}#r1")
    await until(lambda: len(node.reports) == 2)
    first, second = node.reports
    assert (first.whole, first.max_output_tokens, first.min_output_tokens, first.hold_for.seconds) == (True, 80, 80, 30)
    assert (second.phase, second.usage.output_tokens, second.estimated) == (report_pb2.REPORT_PHASE_PROGRESS, 80, True)
    assert (await edge.commit(R, held.reservation_id, 33)).reservation_released
    assert usage(node) == (0, 33, False)
    assert not len(edge.requests)


async def test_a_further_reserve_renews(node: FakeMetering, edge: Gateway) -> None:
    """For less it only begins its time anew; for more, what lacks is held beside; the commit shares out the tokens."""
    held = await edge.reserve(R, 60, 30)
    assert await edge.reserve(R, 60, 40) == held
    assert [alarm.seconds for alarm in edge.alarms.waiting] == [40]
    renewed = await edge.reserve(R, 100, 50)
    assert renewed.reservation_id == f"{SERVICE}+60+40#r1"
    assert [report.max_output_tokens for report in node.reports if report.whole] == [60, 40]
    assert (await edge.commit(R, renewed.reservation_id, 75)).reservation_released
    assert shared_out(node) == (60, 15)


@pytest.mark.parametrize("how", ["by its first id", "by its last id", "by a count", "elsewhere", "after its time"])
async def test_whatever_is_said_again_of_a_renewed_reservation_is_shared_out_as_before(
    node: FakeMetering, edge: Gateway, client: MeteringClient, how: str
) -> None:
    """Into the same records: what is said twice counts once, and more counts as what it is more."""
    first = (await edge.reserve(R, 60)).reservation_id
    last = (await edge.reserve(R, 100)).reservation_id
    if how == "after its time":
        edge.alarms.ring()
        await until(lambda: len(node.committed) == 2)
        await edge.commit(R, first, 20)
        assert shared_out(node) == (20, 0)
    await edge.commit(R, last, 75)
    assert shared_out(node) == (60, 15)
    async with gateway(client) as other:
        for used in (75, 90):
            if how == "by a count":
                await edge.ask(R, used)
            elif how == "elsewhere":
                await other.commit(NAMELESS, last, used)
            else:
                await edge.commit(R, first if how == "by its first id" else last, used)
    assert shared_out(node) == (60, 30)
    edge.alarms.ring()
    assert not len(edge.requests)


async def test_what_was_not_reserved_is_counted_once(node: FakeMetering, edge: Gateway) -> None:
    """Other kinds than the reserved one go with the first part."""
    await edge.reserve(R, 60)
    await edge.reserve(R, 100)
    descriptors = [descriptor(count, {**R, "kind": kind}) for count, kind in ((7, "input"), (75, "output"))]
    await edge.should(wire.RateLimitRequest(domain="gateway", descriptors=descriptors))
    assert (usage(node), usage(node, "r1.2")) == ((7, 60, False), (0, 15, False))


async def test_nothing_times_out_while_it_is_renewed(node: FakeMetering, edge: Gateway) -> None:
    """The answer may take longer than what is left of its time."""
    held = await edge.reserve(R, 60, 30)
    node.muted = True
    renewing = asyncio.create_task(edge.reserve(R, 100, 30))
    await until(lambda: [report for report in node.reports if report.request_id == "r1.2"])
    edge.alarms.ring()
    node.muted = False
    node.streams[-1].hang_up()
    assert (await renewing).code == OK
    assert (await edge.commit(R, held.reservation_id, 90)).reservation_released


async def test_a_renewal_that_is_refused_leaves_what_is_held(node: FakeMetering, edge: Gateway) -> None:
    """And its time."""
    held = await edge.reserve(R, 60, 30)
    node.denies_all = decision_pb2.DECISION_REASON_BUDGET_CONTENDED
    assert (await edge.reserve(R, 100, 50)).code == OVER_LIMIT
    assert edge.reason == "budget_contended"
    node.denies_all = None
    assert [alarm.seconds for alarm in edge.alarms.waiting] == [50]
    assert (await edge.commit(R, held.reservation_id, 61)).reservation_released
    assert usage(node) == (0, 61, False)


async def test_an_expired_reservation_is_settled(node: FakeMetering, edge: Gateway) -> None:
    """At the greatest amount that was reserved, as an estimate; a late commit is recorded as it is."""
    await edge.reserve(R, 60, 30)
    held = await edge.reserve(R, 90, 30)
    edge.alarms.ring()
    await until(lambda: len(node.committed) == 2)
    assert (usage(node), usage(node, "r1.2")) == ((0, 60, True), (0, 30, True))
    assert not (await edge.commit(R, held.reservation_id, 20)).reservation_released
    assert (usage(node), usage(node, "r1.2")) == ((0, 20, False), (0, 0, False))


async def test_a_reservation_of_nothing_is_a_gate(node: FakeMetering, edge: Gateway) -> None:
    """Kuadrant's default: nothing is held, it waits as long as a gate, and what was used is counted."""
    held = await edge.reserve(R, 0)
    assert [alarm.seconds for alarm in edge.alarms.waiting] == [open_requests.GATE_S]
    assert held.code == OK
    assert not node.reports[0].whole
    assert (await edge.commit(R, held.reservation_id, 14)).reservation_released
    assert usage(node) == (0, 14, False)


async def test_input_is_reserved_as_input(node: FakeMetering, edge: Gateway) -> None:
    """By the kind that the descriptors say."""
    held = await edge.reserve({**R, "kind": "input"}, 70)
    assert (node.reports[0].usage.input_tokens, node.reports[0].max_output_tokens) == (70, 0)
    await edge.commit({**R, "kind": "input"}, held.reservation_id, 65)
    assert usage(node) == (65, 0, False)


async def test_a_commit_of_another_process_is_recorded(
    node: FakeMetering, edge: Gateway, client: MeteringClient
) -> None:
    """The reservation's id says where it is. Without one a commit is a report."""
    held = await edge.reserve(NAMELESS, 80)
    async with MeteringClient(node.address, settings=PATIENT) as second, gateway(second, ids="other") as other:
        assert not (await other.commit(NAMELESS, held.reservation_id, 30)).reservation_released
        assert not (await other.commit(NAMELESS, "", 7)).reservation_released
    assert held.reservation_id == f"{SERVICE}#made-1"
    assert usage(node, "made-1") == (0, 30, False)
    assert usage(node, "other-1") == (0, 7, False)


async def test_a_late_commit_leaves_another_services_reservation_alone(node: FakeMetering, edge: Gateway) -> None:
    """Though both have the same id, which their clients chose: each service has what it used."""
    await edge.reserve(R, 60)
    other = "accounts/other/services/chat"
    assert not (await edge.commit(R, f"{other}#r1", 33)).reservation_released
    finishes = [report for report in node.reports if report.phase == report_pb2.REPORT_PHASE_FINISH]
    assert [(report.service, report.usage.output_tokens) for report in finishes] == [(other, 33)]
    assert len(edge.requests) == 1


async def test_what_a_reservation_cannot_be_is_said(edge: Gateway) -> None:
    """A refusal has no place for words, so that the reason is in the trailing metadata; a commit is an error."""
    for amount, ttl_s in ((100_000_001, 30.0), (5, 0.0), (5, -1.0)):
        assert (await edge.reserve(R, amount, ttl_s)).code == OVER_LIMIT
        assert edge.reason == "invalid_descriptor"
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await edge.commit(R, "", 2**63)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "cannot be" in str(raised.value.details())
