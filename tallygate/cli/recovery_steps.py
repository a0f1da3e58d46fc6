"""The steps of `tallygate recover`, on any stubs: fence all nodes, wait for their bookings, book leases."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tallygate.control.v1 import operations_service_pb2, pot_pb2
from tallygate.control.v1 import recovery_service_pb2 as control_pb
from tallygate.metering.v1 import recovery_service_pb2 as metering_pb

PAGE = 1_000
BOOKING_TIMEOUT_S = 180.0
POLL_S = 1.0


class RecoveryError(Exception):
    """A recovery that cannot be done; the message has the reason, and what to do."""


@dataclass(slots=True)
class Recovered:
    """Result of a recovery. `booked` has units by (account, kind of pot) that control had not known of."""

    booked: Counter[tuple[str, str]] = field(default_factory=Counter)
    unknown_lease_ids: list[str] = field(default_factory=list)
    lease_count: int = 0
    closed_lease_count: int = 0
    fenced: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stubs:
    """The services as `Recovery` calls them: each method takes a request and returns its response."""

    list_nodes: Callable[[Any], Awaitable[operations_service_pb2.ListNodesResponse]]
    book_leases: Callable[[Any], Awaitable[control_pb.BookLeasesResponse]]
    finish: Callable[[Any], Awaitable[control_pb.FinishRecoveryResponse]]
    fence_nodes: Callable[[Any], Awaitable[metering_pb.FenceNodesResponse]]
    list_lease_totals: Callable[[Any], Awaitable[metering_pb.ListLeaseTotalsResponse]]


async def recover(
    stubs: Stubs, progress: Callable[[str], None], now_s: Callable[[], float] = time.monotonic
) -> Recovered:
    """Reconcile control with the metering database. May be done again at any point, and as often as one likes.

    Raises:
        RecoveryError: the two are not of one fleet, or the requests that nodes left are not booked in time.
    """
    result = Recovered()
    nodes = await _nodes(stubs)
    await _check_fleet(stubs, nodes)
    known = [control_pb.FencedNode(node=node.node, epoch=node.epoch) for node in nodes]
    fenced = (await stubs.fence_nodes(metering_pb.FenceNodesRequest(known=known))).fenced
    result.fenced = {node.node: node.epoch for node in fenced}
    await _wait_until_booked(stubs, progress, now_s)
    # Requests that nobody knew of may yet turn up, with their clients' tokens, when control has closed these leases.
    await stubs.fence_nodes(metering_pb.FenceNodesRequest(known=fenced, closes_leases=True))
    await _book(stubs, progress, result)
    finished = await stubs.finish(control_pb.FinishRecoveryRequest(nodes=fenced))
    result.closed_lease_count = finished.closed_lease_count
    return result


async def _nodes(stubs: Stubs) -> list[Any]:
    nodes: list[Any] = []
    request = operations_service_pb2.ListNodesRequest(page_size=PAGE)
    while True:
        page = await stubs.list_nodes(request)
        nodes += page.nodes
        if not page.next_page_token:
            return nodes
        request.page_token = page.next_page_token


async def _check_fleet(stubs: Stubs, nodes: list[Any]) -> None:
    page = await stubs.list_lease_totals(metering_pb.ListLeaseTotalsRequest(page_size=1))
    expected = {node.metering_database_id for node in nodes} - {""}
    if expected and page.metering_database_id not in expected:
        raise RecoveryError(
            f"control's fleet writes to metering database {expected.pop()}, but this node to"
            f" {page.metering_database_id}; say with --metering where a node of the same fleet is"
        )


async def _wait_until_booked(stubs: Stubs, progress: Callable[[str], None], now_s: Callable[[], float]) -> None:
    """Waits until all requests of former epochs are booked, and their consumption known: at most a resume window."""
    deadline_s = now_s() + BOOKING_TIMEOUT_S
    while True:
        page = await stubs.list_lease_totals(metering_pb.ListLeaseTotalsRequest(page_size=1))
        count = page.unsettled_request_count
        if not count:
            return
        progress(f"waiting until {count:,} requests of former epochs are settled")
        if now_s() > deadline_s:
            raise RecoveryError(
                f"{count:,} requests of former epochs are not settled after {BOOKING_TIMEOUT_S:.0f} s;"
                f" see that a metering node runs, and run this again"
            )
        await asyncio.sleep(POLL_S)


async def _book(stubs: Stubs, progress: Callable[[str], None], result: Recovered) -> None:
    request = metering_pb.ListLeaseTotalsRequest(page_size=PAGE)
    while True:
        page = await stubs.list_lease_totals(request)
        over = [lease for lease in page.leases if lease.epoch <= result.fenced.get(lease.node, 0)]
        answer = await stubs.book_leases(control_pb.BookLeasesRequest(leases=over))
        for booked in answer.booked:
            result.booked[booked.account, pot_pb2.PotKind.Name(booked.pot_kind)] += booked.units
        result.unknown_lease_ids += answer.unknown_lease_ids
        result.lease_count += len(over)
        progress(f"{result.lease_count:,} leases looked at")
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
